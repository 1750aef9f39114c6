// Batched cuts of RECIST marks on a GPU, for callers without CUDA headers: masks, trimaps and
// matting's priors are, to the bit, those of cut.h and trimap.h, but for the priors' last.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cut/plan.h"

namespace dsnet::cuda {

// All arrays are C-contiguous, in device memory.
struct CutBatch {
    const float* images;   // [count, rows, cols], finite, within 0..1
    const CutPlan* plans;  // [count]
    // [count, rows, (cols + 63) / 64], pixel 64 w + i being bit i of word w: the inner axes of the
    // marks.
    const std::uint64_t* seeds;
    const EdgeNetwork* network;  // aligned to 64 bytes
    std::uint8_t* masks;         // [count, rows, cols], 1 where lesion
    std::uint8_t* trimaps;       // [count, rows, cols]
    float* priors;               // [count, rows, cols], 0 where the trimap is sure
    CutResult* results;          // [count]; where one is unwanted, the rest is 0
    std::int64_t count;
    std::int32_t rows, cols;  // at least 1 each
    void* workspace;          // aligned to 16 bytes
    std::size_t workspace_bytes;
};

// For the current device: with so much, as many blocks run as it holds, and at most `count`; with
// less, down to the need of one image, fewer.
std::size_t cut_workspace_bytes(std::int64_t count, std::int32_t rows, std::int32_t cols);

// Starts the work on the stream (a cudaStream_t) and returns. Throws std::invalid_argument for a
// batch outside the above, CudaError where the launch fails.
void cut_cuda(const CutBatch& batch, void* stream);

}  // namespace dsnet::cuda
