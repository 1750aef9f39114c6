// The edge model: how likely each pixel near a RECIST mark is lesion; dsnet/labeling/edge_model.py
// says more.
#pragma once

#include <cstdint>
#include <vector>

#include "base/image.h"
#include "edge/curve.h"
#include "edge/simd.h"
#include "mark/recist.h"

namespace dsnet {

// Memory that is reused from mark to mark; one for each thread.
struct EdgeWorkspace {
    alignas(64) float cells[4][kCells + kLanes];
    std::int32_t keys[kCells + 4 * kLanes];
    EdgeLayers layers = {};
};

// The part of the image that can hold the lesion under a mark: what its frame covers.
Box lesion_window(const MarkFrame& frame, std::ptrdiff_t rows, std::ptrdiff_t cols);

EdgePlan plan_edge(const RecistMark& mark, const MarkFrame& frame, const Box& window);

// Writes the log-odds of the window's pixels, within +-kCertain, to `log_odds`, which has the
// window's shape. Below kLeastContrast the grey values say nothing: nothing is written, and there
// is no threshold.
EdgeOutcome weigh_evidence(Image<const float> image, const RecistMark& mark, const Box& window,
                           const EdgeNetwork& network, EdgeWorkspace& workspace,
                           Image<float> log_odds);

}  // namespace dsnet
