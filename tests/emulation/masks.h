// The GPU's morphology on the CPU, a thread at a time; for tests.
#pragma once

#include "masks/gpu.h"
#include "trimap/gpu.h"

namespace dsnet {

enum class BlockWork { kSplit, kErode, kDilate, kTrimap };

// Arrays are the host's; workspace is not read. `large`: as for images that shared memory cannot
// hold. `backwards`: threads from the last to the first.
void morphology_on_host(const cuda::MorphologyBatch& batch, BlockWork work, bool large,
                        bool backwards);

// As trimap_from_raters_cuda.
void raters_on_host(const cuda::RatersBatch& batch, bool backwards);

}  // namespace dsnet
