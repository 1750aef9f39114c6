// The cut of strategy 3: which pixels around a RECIST mark are lesion. The edge model weighs each
// pixel, a minimum cut weighs that against the length of the border, the mark is the seed.
// dsnet/labeling/grabcut.py says more.
#pragma once

#include <cstdint>
#include <vector>

#include "masks/components.h"
#include "cut/plan.h"
#include "edge/model.h"
#include "base/image.h"
#include "cut/border.h"
#include "mark/recist.h"

namespace dsnet {

// Cost of one pixel of border between lesion and background, in units of log-odds.
inline constexpr double kBorderCost = 0.3;
// Log-odds are cut off here: certain, and yet a number.
inline constexpr float kCertain = 8.0f;

// A cut this much smaller or larger than the axes' ellipse has gone astray.
inline constexpr double kLeastArea = 0.1, kMostArea = 8.0;

// Memory that is reused from mark to mark; one for each thread.
struct CutWorkspace {
    EdgeWorkspace edge;
    BorderCut border;
    ComponentsWorkspace components;
    std::vector<float> log_odds;
    std::vector<std::uint8_t> seeds, mask;
};

struct CutOutcome {
    CutFallback fallback = CutFallback::kNone;
    double value = 0.0;  // the contrast, or the share of the ellipse's area, that was not good enough
};

// The inner part of the axes, which is sure lesion.
RecistMark inner_axes(const RecistMark& mark);
// Pixels of the axes' ellipse, or else of their quadrilateral, with which the cut's area is compared;
// at least 1.
std::ptrdiff_t marked_area(const RecistMark& mark, const Window& window, std::ptrdiff_t rows,
                           std::ptrdiff_t cols);

// Writes both images whole: 1 where lesion, and the evidence within +-kCertain. Where the cut cannot
// work, they are the axes' ellipse and its rim. The mark must touch the image.
CutOutcome cut_recist(Image<const float> image, const RecistMark& mark, const EdgeNetwork& network,
                      CutWorkspace& workspace, Image<std::uint8_t> mask, Image<float> log_odds);

}  // namespace dsnet
