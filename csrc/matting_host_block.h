// Runs the GPU's matting on the CPU, thread after thread, so that tests can.
#pragma once

#include "matting_cuda.h"

namespace dsnet {

// As dsnet::cuda::matting_cuda, with arrays in host memory; the workspace is not used. With
// `large` every image takes the path of those that shared memory cannot hold; `backwards` runs the
// threads from the last to the first.
void matting_on_host(const cuda::MattingBatch& batch, bool large, bool backwards);

}  // namespace dsnet
