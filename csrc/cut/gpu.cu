// Batched cuts of RECIST marks: a block of threads an image, which goes through device memory that
// the caches hold; the mark's frame lies in shared memory.
#include "cut/gpu.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "cut/gpu_block.h"
#include "gpu/error.h"

namespace dsnet::cuda {
namespace {

using namespace cut_device;

// On a multiprocessor at a time: leaves a thread 128 registers.
constexpr int kLeastBlocks = 4;
// Large images take megabytes each: fewer run at a time then.
constexpr std::size_t kMostWorkspace = std::size_t{1} << 30;

__global__ void __launch_bounds__(kThreads, kLeastBlocks)
    cut_images(const __grid_constant__ CutBatch batch, std::size_t share) {
    __shared__ FrameScratch frame;
    Threads<kThreads> block;
    void* const memory = static_cast<char*>(batch.workspace) + share * blockIdx.x;
    for (std::int64_t index = blockIdx.x; index < batch.count; index += gridDim.x)
        cut_image(block, batch, index, memory, frame);
}

std::int64_t resident_blocks() {
    int device = 0, processors = 0, blocks = 0;
    check(cudaGetDevice(&device), "asking for the device");
    check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device),
          "asking for the device's size");
    check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, cut_images, kThreads, 0),
          "asking how many cuts run at a time");
    return std::int64_t{processors} * std::max(blocks, 1);
}

void check_batch(const CutBatch& batch) {
    require(batch.count >= 0, "count must be >= 0");
    require(batch.rows >= 1 && batch.cols >= 1, "rows and cols must be >= 1");
    // Words are counted in 32 bits, pixels of a word in as many.
    require(std::int64_t{batch.rows} * words_of(batch.cols) * kWordBits < (1 << 30),
            "an image must have less than 2^30 pixels");
    if (batch.count == 0) return;
    require(batch.images != nullptr && batch.plans != nullptr && batch.seeds != nullptr,
            "images, plans and seeds must not be null");
    require(batch.network != nullptr, "network must not be null");
    require(reinterpret_cast<std::uintptr_t>(batch.network) % alignof(EdgeNetwork) == 0,
            "network must be aligned to 64 bytes");
    require(batch.masks != nullptr && batch.trimaps != nullptr && batch.priors != nullptr &&
                batch.results != nullptr,
            "masks, trimaps, priors and results must not be null");
}

}  // namespace

std::size_t cut_workspace_bytes(std::int64_t count, std::int32_t rows, std::int32_t cols) {
    const std::size_t share = CutMemory::bytes(rows, cols);
    const auto room = std::max<std::int64_t>(std::int64_t(kMostWorkspace / share), 1);
    return share *
           std::size_t(std::min({std::max<std::int64_t>(count, 1), resident_blocks(), room}));
}

void cut_cuda(const CutBatch& batch, void* stream) {
    check_batch(batch);
    if (batch.count == 0) return;
    const std::size_t share = CutMemory::bytes(batch.rows, batch.cols);
    const auto room = std::int64_t(batch.workspace_bytes / share);
    require(batch.workspace != nullptr && room > 0, "workspace is smaller than an image needs");
    const std::int64_t blocks = std::min({batch.count, room, resident_blocks()});
    cut_images<<<int(blocks), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(batch, share);
    check(cudaGetLastError(), "launching cuts");
}

}  // namespace dsnet::cuda
