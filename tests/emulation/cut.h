// What a GPU does with cuts, run on the CPU for tests. Arrays are in the host's memory.
#pragma once

#include <cstdint>

#include "base/image.h"
#include "cut/gpu.h"

namespace dsnet {

// As cut_cuda; `backwards` runs the threads of a block in the other order.
void cut_on_host(const cuda::CutBatch& batch, bool backwards);

// The edge model alone, as weigh_evidence of the plan's window; `log_odds` is left alone where the
// contrast, which it returns, is below kLeastContrast.
double evidence_on_host(Image<const float> image, const CutPlan& plan, const EdgeNetwork& network,
                        bool backwards, float* log_odds);

// The minimum cut alone, as BorderCut; returns how many pixels had to be searched. A graph of more
// than `small_nodes` goes through memory of its own.
std::int64_t border_cut_on_host(Image<const float> log_odds, Image<const std::uint8_t> seeds,
                                std::int32_t side, std::int32_t across, int small_nodes,
                                bool backwards, Image<std::uint8_t> lesion);

}  // namespace dsnet
