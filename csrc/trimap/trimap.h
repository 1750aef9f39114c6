// Trimaps: where a label is sure lesion, sure background, or unknown; dsnet/labeling/trimap.py says
// more, dsnet/labeling/reference/trimap.py is the reference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/image.h"
#include "mark/recist.h"
#include "masks/components.h"
#include "masks/distance.h"
#include "masks/morphology.h"
#include "trimap/numbers.h"

namespace dsnet {

// A connected part of a lesion.
struct LesionPart {
    Box box;
    std::int32_t first_run;
    double margin;  // of its own size
};

// Buffers that are reused from call to call and only grow; one for each thread.
struct TrimapWorkspace {
    MorphologyWorkspace morphology;
    DistanceWorkspace distance;
    ComponentsWorkspace components;
    std::vector<std::uint8_t> core;  // of the mark
    std::vector<LesionPart> parts;
    std::vector<std::int32_t> next_run;          // of the same part, -1 after the last
    std::vector<std::uint8_t> component, piece;  // one part's pixels and trimap
    std::vector<double> distance_map;
};

// kForeground where the nearest pixel outside the mask is farther than `erosion`, kBackground where
// the nearest pixel of the mask is farther than `dilation`, else kUnknown.
void split_trimap(Image<const std::uint8_t> mask, double erosion, double dilation, Spacing spacing,
                  MorphologyWorkspace& workspace, Image<std::uint8_t> out);

// Strategy 1. NaN stands for the default margin of each 8-connected part. `core`, of the mask's
// shape and contiguous, may be null: what stays lesion where a part would erode to nothing.
void trimap_from_mask(Image<const std::uint8_t> mask, double erosion, double dilation,
                      Spacing spacing, const std::uint8_t* core, TrimapWorkspace& workspace,
                      Image<std::uint8_t> out);

// Strategy 1's prior: where the trimap is unknown how likely a pixel is lesion by its distance to
// the mask's edge, else 0 or 1.
void mask_prior(Image<const std::uint8_t> mask, Image<const std::uint8_t> trimap, Spacing spacing,
                Image<float> out);

// The pixels inside a mark's quadrilateral, as RecistMark.quadrilateral_mask tells them: of the
// image's part that begins at (top, left).
struct MarkCore {
    Image<std::uint8_t> pixels;
    std::ptrdiff_t top, left;
    std::ptrdiff_t count;
};
MarkCore rasterise_core(const RecistMark& mark, std::ptrdiff_t rows, std::ptrdiff_t cols,
                        std::vector<std::uint8_t>& buffer);

// A lesion too small to keep a sure pixel keeps the mark's quadrilateral, or else its most certain
// pixels. An empty cut is all background.
void trimap_from_cut(Image<const std::uint8_t> mask, Image<const float> log_odds,
                     const RecistMark& mark, TrimapWorkspace& workspace, Image<std::uint8_t> out);

}  // namespace dsnet
