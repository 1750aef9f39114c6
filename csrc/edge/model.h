// How likely each pixel near a RECIST mark is lesion; dsnet/labeling/edge_model.py says more.
#pragma once

#include <cstdint>
#include <vector>

#include "edge/simd.h"
#include "base/image.h"
#include "base/plane_arena.h"
#include "mark/recist.h"

namespace dsnet {

// Contrast below this, in the image's 0..1, is taken as this: grey values say nothing then.
inline constexpr double kLeastContrast = 0.02;

// Memory that is reused from mark to mark; one for each thread.
struct EdgeWorkspace {
    PlaneArena<float> planes;
    std::vector<std::int32_t> keys;
};

// The part of the image that can hold the lesion under a mark.
Window lesion_window(const MarkFrame& frame, std::ptrdiff_t rows, std::ptrdiff_t cols);

// What follows from a mark alone: the curve in the window's pixels, and the features that are the
// same for all pixels, but for the last.
struct MarkEvidence {
    MarkEvidence(const RecistMark& mark, const MarkFrame& frame, const Window& window);

    EdgeCurve curve;
    float ring;  // the surroundings lie at most so many pixels outside the curve
    double same[kFeatures - kVaryingFeatures - 1];
};

// The filters of the smoothed features.
const EdgeTaps& edge_taps();

// Writes the log-odds of the window's pixels, within +-`certain`, to `log_odds`, which has the
// window's shape. Returns the contrast: the lesion's grey value less the surroundings'.
double weigh_evidence(Image<const float> image, const RecistMark& mark, const Window& window,
                      const EdgeNetwork& network, float certain, EdgeWorkspace& workspace,
                      Image<float> log_odds);

}  // namespace dsnet
