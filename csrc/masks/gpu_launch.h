// What every launch over a MorphologyBatch checks and chooses.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "gpu/error.h"
#include "masks/gpu.h"
#include "masks/gpu_bits.h"

namespace dsnet::morphology_device {

using cuda::check, cuda::require;

// Of an image in shared memory: two blocks fit an sm_80 multiprocessor, three a larger one's.
constexpr std::size_t kMostShared = 72 * 1024;
// No launch has more blocks, which loop; keeps the grid's size in range for any batch.
constexpr std::int64_t kMostBlocks = 1 << 20;
// On a multiprocessor at a time: leaves a thread 128 registers, so that nothing spills.
constexpr int kLeastBlocks = 4;

inline void check_batch(const cuda::MorphologyBatch& batch, bool erosion, bool dilation) {
    require(batch.count >= 0, "count must be >= 0");
    require(batch.rows >= 1 && batch.cols >= 1, "rows and cols must be >= 1");
    // A band is a row at least, and its result lies in shared memory.
    require(batch.rows <= 1 << 20 && batch.cols <= 1 << 18,
            "rows must be <= 1048576 and cols <= 262144");
    require(std::int64_t(batch.rows) * words_of(batch.cols) < (1 << 25),
            "an image must have less than 2^31 pixels");
    if (batch.count == 0) return;
    require(batch.masks != nullptr && batch.out != nullptr && batch.statuses != nullptr,
            "masks, out and statuses must not be null");
    require(!batch.packed || reinterpret_cast<std::uintptr_t>(batch.masks) % sizeof(Word) == 0,
            "packed masks must be aligned to 8 bytes");
    require(!erosion || batch.erosion != nullptr, "erosion must not be null");
    require(!dilation || batch.dilation != nullptr, "dilation must not be null");
}

inline int blocks_for(std::int64_t items) { return int(std::min(items, kMostBlocks)); }

template <class Kernel>
void allow_shared(Kernel* kernel, std::size_t bytes) {
    constexpr std::size_t kWithoutAsking = 48 * 1024;
    if (bytes > kWithoutAsking)
        check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes)),
              "asking for shared memory for morphology");
}

inline std::int64_t images_at_a_time(const cuda::MorphologyBatch& batch, std::size_t share) {
    const auto room = std::int64_t(batch.workspace_bytes / share);
    require(batch.workspace != nullptr && room > 0,
            "workspace is smaller than such an image needs");
    return std::min(room, batch.count);
}

}  // namespace dsnet::morphology_device
