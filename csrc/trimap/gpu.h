// Batched trimaps on a GPU, for callers without CUDA headers: to the bit those of trimap.h, and of
// trimap_from_raters in dsnet/labeling/trimap.py.
#pragma once

#include <cstddef>
#include <cstdint>

#include "masks/gpu.h"

namespace dsnet::cuda {

// Each function starts the work on the stream (a cudaStream_t) and returns. They throw
// std::invalid_argument for a batch outside of what its struct says, CudaError where a launch
// fails.

// `split_trimap`; its workspace is split_workspace_bytes.
void split_trimap_cuda(const MorphologyBatch& batch, void* stream);

// Strategy 1: `trimap_from_mask`, and `mask_prior` where there are priors; they are 0 where the
// status says that nothing was done.
void trimap_from_mask_cuda(const MorphologyBatch& batch, void* stream);
// The least workspace for such images; 0 where shared memory suffices. With more, up to `count`
// times that, more images are worked on at a time.
std::size_t trimap_workspace_bytes(std::int32_t rows, std::int32_t cols);

// Strategy 2, of several raters' masks, and the prior of dsnet/labeling/prior.py.
// All arrays are C-contiguous, in device memory.
struct RatersBatch {
    const std::uint8_t* masks;  // [count, raters, rows, cols], non-zero is lesion
    // Radii of the thin band where the raters agree, in the unit of the spacing: finite and >= 0,
    // or NaN for strategy 1's default margins.
    double erosion, dilation;
    double row_spacing, col_spacing;  // > 0
    std::uint8_t* out;                // [count, rows, cols]
    float* priors;                    // as out, or null
    std::int64_t count;
    std::int32_t raters, rows, cols;  // at least 1 each
    void* workspace;                  // aligned to 16 bytes
    std::size_t workspace_bytes;
};

// The workspace for a batch; `at_a_time` images share what shared memory cannot hold.
std::size_t raters_workspace_bytes(std::int64_t count, std::int32_t rows, std::int32_t cols,
                                   std::int64_t at_a_time);

void trimap_from_raters_cuda(const RatersBatch& batch, void* stream);

}  // namespace dsnet::cuda
