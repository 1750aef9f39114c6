// The cut of strategy 3: which pixels around a RECIST mark are lesion; dsnet/labeling/cut.py says
// more.
//
// The edge model weighs each pixel. Of all thresholds the one with the greatest expected Dice says
// what is lesion, and of its parts the one that holds the mark's axes is kept.
#pragma once

#include <cstdint>
#include <vector>

#include "base/image.h"
#include "cut/plan.h"
#include "edge/model.h"
#include "mark/recist.h"
#include "masks/components.h"

namespace dsnet {

// Memory that is reused from mark to mark; one for each thread.
struct CutWorkspace {
    EdgeWorkspace edge;
    ComponentsWorkspace components;
    std::vector<std::uint8_t> seeds, mask;
};

struct CutOutcome {
    CutFallback fallback = CutFallback::kNone;
    // The contrast, or the share of the ellipse's area, that was not good enough.
    double value = 0.0;
    // Of the cut, by the evidence alone; 0 without contrast.
    double expected_dice = 0.0;
};

// Writes both images whole: 1 where lesion, and the evidence within +-kCertain. Where the cut
// cannot work, they are the axes' ellipse and its rim. The mark must touch the image.
CutOutcome cut_recist(Image<const float> image, const RecistMark& mark, const EdgeNetwork& network,
                      CutWorkspace& workspace, Image<std::uint8_t> mask, Image<float> log_odds);

}  // namespace dsnet
