// What a GPU does with cuts, run on the CPU for tests. Arrays are in the host's memory.
#pragma once

#include <cstdint>

#include "base/image.h"
#include "cut/gpu.h"

namespace dsnet {

// As cut_cuda; `backwards` runs the threads of a block in the other order.
void cut_on_host(const cuda::CutBatch& batch, bool backwards);

// The edge model alone, as weigh_evidence of the plan's window.
EdgeOutcome evidence_on_host(Image<const float> image, const CutPlan& plan,
                             const EdgeNetwork& network, bool backwards, float* log_odds);

}  // namespace dsnet
