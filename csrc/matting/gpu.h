// Batched closed-form matting on a GPU, for callers without CUDA headers. The method is that of
// matting.h, always preconditioned by the diagonal.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dsnet::cuda {

// Of an image: an entry of the list of windows has 28 bits.
inline constexpr std::int64_t kMostMattingPixels = std::int64_t{1} << 26;

enum MattingStatus : std::int32_t {
    kMattingDone = 0,
    kMattingPending = 1,    // left to the next kernel; never seen by a caller
    kMattingBadImage = 2,   // not finite, or beyond +-16; alpha is NaN throughout, as it is below
    kMattingBadTrimap = 3,  // other values than 0, 128, 255
    kMattingBadPrior = 4,   // beyond 0..1
};

// As MattingOutcome.
struct MattingResult {
    double residual;
    std::int32_t status;
    std::int32_t iterations;
    std::int32_t unknowns;
    std::int32_t converged;
    std::int32_t solved;  // 0: no system to solve
    std::int32_t reserved;
};

// All arrays are C-contiguous, in device memory.
struct MattingBatch {
    const float* images;          // [count, rows, cols]
    const std::uint8_t* trimaps;  // as images
    const float* priors;          // as images, or null
    float* alphas;                // as images
    MattingResult* results;       // [count]
    std::int64_t count;
    std::int32_t rows, cols;  // at least 1 each; windows are cut to an image below 3 x 3
    double epsilon;
    double rtol;
    double prior_weight;
    std::int32_t max_iterations;
    void* workspace;  // aligned to 16 bytes
    std::size_t workspace_bytes;
};

// What one block of threads needs, the least to call with; each further such share lets one more
// block run beside the others. Results do not depend on it.
std::size_t matting_block_bytes(std::int32_t rows, std::int32_t cols);
// Enough for all that the current device runs at a time, and no more than `count` images ask for.
std::size_t matting_workspace_bytes(std::int64_t count, std::int32_t rows, std::int32_t cols);

// Starts the work on the stream (a cudaStream_t) and returns. Throws std::invalid_argument for
// a batch outside the above, CudaError where the launch fails.
void matting_cuda(const MattingBatch& batch, void* stream);

}  // namespace dsnet::cuda
