// Batched morphology and trimaps: a block of threads an image, or for large ones a band of rows.
#include "masks/gpu.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <string>

#include "gpu/error.h"
#include "masks/gpu_block.h"
#include "trimap/gpu_of_mask.h"

namespace dsnet::cuda {
namespace {

using namespace morphology_device;

// Of an image in shared memory: two blocks fit an sm_80 multiprocessor, three a larger one's.
constexpr std::size_t kMostShared = 72 * 1024;
// No launch has more blocks, which loop; keeps the grid's size in range for any batch.
constexpr std::int64_t kMostBlocks = 1 << 20;

// On a multiprocessor at a time: leaves a thread 128 registers, so that nothing spills.
constexpr int kLeastBlocks = 4;

using Threads = DeviceBlock<kThreads>;

__global__ void __launch_bounds__(kThreads, kLeastBlocks)
    split_images(const __grid_constant__ MorphologyBatch batch, Operation operation) {
    extern __shared__ uint4 shared[];
    Threads block;
    for (std::int64_t index = blockIdx.x; index < batch.count; index += gridDim.x)
        split_image(block, batch, index, operation, shared);
}

struct Bands {
    std::int64_t first;  // image
    std::int64_t count;  // images
    std::size_t share;   // workspace of an image
    int rows;            // of a band
};

template <bool kLoad>
__global__ void __launch_bounds__(kThreads, kLeastBlocks)
    work_on_bands(const __grid_constant__ MorphologyBatch batch, Operation operation,
                  const __grid_constant__ Bands bands) {
    extern __shared__ uint4 shared[];
    Threads block;
    const int per_image = (batch.rows + bands.rows - 1) / bands.rows;
    for (std::int64_t item = blockIdx.x; item < bands.count * per_image; item += gridDim.x) {
        const std::int64_t image = item / per_image;
        const int first = int(item - image * per_image) * bands.rows;
        const int last = lesser(first + bands.rows, batch.rows);
        void* const memory = static_cast<char*>(batch.workspace) + image * bands.share;
        if (kLoad)
            load_band(block, batch, bands.first + image, operation, memory, first, last);
        else
            split_band(block, batch, bands.first + image, operation, memory,
                       reinterpret_cast<Word*>(shared), first, last);
    }
}

// `share` 0: in shared memory.
__global__ void __launch_bounds__(kThreads, kLeastBlocks)
    trimap_images(const __grid_constant__ MorphologyBatch batch, std::size_t share) {
    extern __shared__ uint4 shared[];
    Threads block;
    void* const memory =
        share == 0 ? static_cast<void*>(shared)
                   : static_cast<void*>(static_cast<char*>(batch.workspace) + share * blockIdx.x);
    for (std::int64_t index = blockIdx.x; index < batch.count; index += gridDim.x)
        trimap_image(block, batch, index, memory);
}

void check_batch(const MorphologyBatch& batch, bool erosion, bool dilation) {
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

int blocks_for(std::int64_t items) { return int(std::min(items, kMostBlocks)); }

template <class Kernel>
void allow_shared(Kernel* kernel, std::size_t bytes) {
    constexpr std::size_t kWithoutAsking = 48 * 1024;
    if (bytes > kWithoutAsking)
        check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   int(bytes)),
              "asking for shared memory for morphology");
}

std::int64_t images_at_a_time(const MorphologyBatch& batch, std::size_t share) {
    const auto room = std::int64_t(batch.workspace_bytes / share);
    require(batch.workspace != nullptr && room > 0,
            "workspace is smaller than such an image needs");
    return std::min(room, batch.count);
}

void launch(const MorphologyBatch& batch, Operation operation, void* stream_pointer) {
    check_batch(batch, operation != Operation::kDilate, operation != Operation::kErode);
    if (batch.count == 0) return;
    const auto stream = static_cast<cudaStream_t>(stream_pointer);
    if (split_workspace_bytes(batch.rows, batch.cols) == 0) {
        const std::size_t bytes = split_bytes(batch.rows, batch.cols);
        allow_shared(split_images, bytes);
        split_images<<<blocks_for(batch.count), kThreads, bytes, stream>>>(batch, operation);
        check(cudaGetLastError(), "launching morphology");
        return;
    }
    const std::size_t share = split_workspace_bytes(batch.rows, batch.cols);
    const std::int64_t step = images_at_a_time(batch, share);
    const int rows = band_rows(batch.rows, batch.cols);
    const int per_image = (batch.rows + rows - 1) / rows;
    const std::size_t bytes = 2 * sizeof(Word) * std::size_t(rows) * words_of(batch.cols);
    allow_shared(work_on_bands<false>, bytes);
    for (std::int64_t first = 0; first < batch.count; first += step) {
        const Bands bands = {first, std::min(step, batch.count - first), share, rows};
        const int blocks = blocks_for(bands.count * per_image);
        work_on_bands<true><<<blocks, kThreads, 0, stream>>>(batch, operation, bands);
        check(cudaGetLastError(), "launching morphology");
        work_on_bands<false><<<blocks, kThreads, bytes, stream>>>(batch, operation, bands);
        check(cudaGetLastError(), "launching morphology");
    }
}

}  // namespace

std::size_t split_workspace_bytes(std::int32_t rows, std::int32_t cols) {
    return split_bytes(rows, cols) <= kMostShared ? 0 : aligned(BitImage::bytes(rows, cols));
}

std::size_t trimap_workspace_bytes(std::int32_t rows, std::int32_t cols) {
    return trimap_bytes(rows, cols) <= kMostShared ? 0 : aligned(trimap_bytes(rows, cols));
}

void split_trimap_cuda(const MorphologyBatch& batch, void* stream) {
    launch(batch, Operation::kSplit, stream);
}

void erode_cuda(const MorphologyBatch& batch, void* stream) {
    launch(batch, Operation::kErode, stream);
}

void dilate_cuda(const MorphologyBatch& batch, void* stream) {
    launch(batch, Operation::kDilate, stream);
}

void trimap_from_mask_cuda(const MorphologyBatch& batch, void* stream) {
    check_batch(batch, true, true);
    if (batch.count == 0) return;
    const std::size_t share = trimap_workspace_bytes(batch.rows, batch.cols);
    const std::size_t bytes = share == 0 ? trimap_bytes(batch.rows, batch.cols) : 0;
    const std::int64_t blocks =
        share == 0 ? blocks_for(batch.count) : blocks_for(images_at_a_time(batch, share));
    allow_shared(trimap_images, bytes);
    trimap_images<<<int(blocks), kThreads, bytes, static_cast<cudaStream_t>(stream)>>>(batch,
                                                                                       share);
    check(cudaGetLastError(), "launching trimaps");
}

}  // namespace dsnet::cuda
