// Batched morphology on a GPU, for callers without CUDA headers. Every result is, to the bit, that
// of morphology.h.
//
// An image of 64 x 64 is read once (4096 bytes, or 512 of bits) and its result written once (4096);
// what lies between is bits in shared memory. Where a block's shared memory does not hold an image,
// its bits go through device memory.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dsnet::cuda {

enum MorphologyStatus : std::int32_t {
    kMorphologyDone = 0,
    // The output is 0 throughout, as it is below.
    kMorphologyBadErosion = 1,  // negative or not finite
    kMorphologyBadDilation = 2,
    kMorphologyBadSpacing = 3,  // not positive or not finite
};

// All arrays are C-contiguous, in device memory.
struct MorphologyBatch {
    // [count, rows, cols], non-zero is lesion; packed: [count, rows, (cols + 63) / 64] of
    // std::uint64_t, aligned to 8 bytes, pixel 64 w + i being bit i of word w. Bits beyond the last
    // column are ignored.
    const void* masks;
    bool packed;
    const std::uint8_t* cores;  // [count, rows, cols] or null, for trimap_from_mask_cuda alone
    // Radii [count] in the unit of the spacing. For trimap_from_mask_cuda NaN stands for the
    // default margin of each 8-connected part; `erode_cuda` reads the first alone, `dilate_cuda`
    // the second.
    const double* erosion;
    const double* dilation;
    const double* spacing;   // [count, 2], of rows and of columns; null: 1, 1
    std::uint8_t* out;       // [count, rows, cols]
    float* priors;           // as out or null, for trimap_from_mask_cuda alone, of unpacked masks
    std::int32_t* statuses;  // [count] MorphologyStatus
    std::int64_t count;
    std::int32_t rows, cols;  // at least 1 each
    void* workspace;          // aligned to 16 bytes
    std::size_t workspace_bytes;
};

// The least workspace for such images; 0 where shared memory suffices. With more, up to `count`
// times that, more images are worked on at a time.
std::size_t split_workspace_bytes(std::int32_t rows, std::int32_t cols);

// Each starts the work on the stream (a cudaStream_t) and returns. They throw std::invalid_argument
// for a batch outside the above, CudaError where a launch fails.

// Both at once: `split_mask`.
void split_cuda(const MorphologyBatch& batch, std::uint8_t inside, std::uint8_t between,
                void* stream);
// 1 or 0: `erode` and `dilate` by a disc.
void erode_cuda(const MorphologyBatch& batch, void* stream);
void dilate_cuda(const MorphologyBatch& batch, void* stream);

}  // namespace dsnet::cuda
