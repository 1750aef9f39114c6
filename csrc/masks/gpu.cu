// Batched morphology: a block of threads an image, or for large ones a band of rows.
#include "masks/gpu.h"

#include <cuda_runtime.h>

#include <algorithm>

#include "gpu/error.h"
#include "masks/gpu_block.h"
#include "masks/gpu_launch.h"

namespace dsnet::cuda {
namespace {

using namespace morphology_device;

__global__ void __launch_bounds__(kThreads, kLeastBlocks)
    split_images(const __grid_constant__ MorphologyBatch batch, Operation operation,
                 Levels levels) {
    extern __shared__ uint4 shared[];
    Threads<kThreads> block;
    for (std::int64_t index = blockIdx.x; index < batch.count; index += gridDim.x)
        split_image(block, batch, index, operation, levels, shared);
}

struct Bands {
    std::int64_t first;  // image
    std::int64_t count;  // images
    std::size_t share;   // workspace of an image
    int rows;            // of a band
};

template <bool kLoad>
__global__ void __launch_bounds__(kThreads, kLeastBlocks)
    work_on_bands(const __grid_constant__ MorphologyBatch batch, Operation operation, Levels levels,
                  const __grid_constant__ Bands bands) {
    extern __shared__ uint4 shared[];
    Threads<kThreads> block;
    const int per_image = (batch.rows + bands.rows - 1) / bands.rows;
    for (std::int64_t item = blockIdx.x; item < bands.count * per_image; item += gridDim.x) {
        const std::int64_t image = item / per_image;
        const int first = int(item - image * per_image) * bands.rows;
        const int last = lesser(first + bands.rows, batch.rows);
        void* const memory = static_cast<char*>(batch.workspace) + image * bands.share;
        if (kLoad)
            load_band(block, batch, bands.first + image, operation, memory, first, last);
        else
            split_band(block, batch, bands.first + image, operation, levels, memory,
                       reinterpret_cast<Word*>(shared), first, last);
    }
}

void launch(const MorphologyBatch& batch, Operation operation, Levels levels,
            void* stream_pointer) {
    check_batch(batch, operation != Operation::kDilate, operation != Operation::kErode);
    if (batch.count == 0) return;
    const auto stream = static_cast<cudaStream_t>(stream_pointer);
    if (split_workspace_bytes(batch.rows, batch.cols) == 0) {
        const std::size_t bytes = split_bytes(batch.rows, batch.cols);
        allow_shared(split_images, bytes);
        split_images<<<blocks_for(batch.count), kThreads, bytes, stream>>>(batch, operation,
                                                                           levels);
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
        work_on_bands<true><<<blocks, kThreads, 0, stream>>>(batch, operation, levels, bands);
        check(cudaGetLastError(), "launching morphology");
        work_on_bands<false><<<blocks, kThreads, bytes, stream>>>(batch, operation, levels, bands);
        check(cudaGetLastError(), "launching morphology");
    }
}

}  // namespace

std::size_t split_workspace_bytes(std::int32_t rows, std::int32_t cols) {
    return split_bytes(rows, cols) <= kMostShared ? 0 : aligned(BitImage::bytes(rows, cols));
}

void split_cuda(const MorphologyBatch& batch, std::uint8_t inside, std::uint8_t between,
                void* stream) {
    launch(batch, Operation::kSplit, {inside, between}, stream);
}

void erode_cuda(const MorphologyBatch& batch, void* stream) {
    launch(batch, Operation::kErode, {1, 0}, stream);
}

void dilate_cuda(const MorphologyBatch& batch, void* stream) {
    launch(batch, Operation::kDilate, {0, 1}, stream);
}

}  // namespace dsnet::cuda
