// Runs the GPU's matting on the CPU, thread after thread, so that tests can.
#pragma once

#include <vector>

#include "matting/gpu.h"

namespace dsnet {

enum class MattingPath {
    kAny,    // as on a GPU: the first that the image fits
    kBands,  // a cluster of blocks, where it fits
    kMemory  // that of images which no shared memory can hold
};

// As dsnet::cuda::matting_cuda, with arrays in host memory; the workspace is not used. `backwards`
// runs the threads from the last to the first. Returns what solved each image: "small", "narrow" or
// "wide" bands, or "memory".
std::vector<const char*> matting_on_host(const cuda::MattingBatch& batch, MattingPath path,
                                         bool backwards);

}  // namespace dsnet
