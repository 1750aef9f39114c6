// Batched trimaps of masks: a block of threads an image; of several raters', before and after
// strategy 1.
#include "trimap/gpu.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>

#include "gpu/error.h"
#include "masks/gpu_block.h"
#include "masks/gpu_launch.h"
#include "trimap/gpu_of_mask.h"
#include "trimap/gpu_of_raters.h"
#include "trimap/numbers.h"

namespace dsnet::cuda {
namespace {

using namespace morphology_device;
using namespace raters_device;

// `share` 0: in shared memory.
__global__ void __launch_bounds__(kThreads, kLeastBlocks)
    trimap_images(const __grid_constant__ MorphologyBatch batch, std::size_t share) {
    extern __shared__ uint4 shared[];
    Threads<kThreads> block;
    void* const memory =
        share == 0 ? static_cast<void*>(shared)
                   : static_cast<void*>(static_cast<char*>(batch.workspace) + share * blockIdx.x);
    for (std::int64_t index = blockIdx.x; index < batch.count; index += gridDim.x)
        trimap_image(block, batch, index, memory);
}

__global__ void __launch_bounds__(kThreads)
    vote_images(const __grid_constant__ RatersBatch batch,
                const __grid_constant__ RatersMemory memory) {
    Threads<kThreads> block;
    for (std::int64_t index = blockIdx.x; index < batch.count; index += gridDim.x)
        count_votes(block, batch, memory, index);
}

__global__ void __launch_bounds__(kThreads)
    join_images(const __grid_constant__ RatersBatch batch,
                const __grid_constant__ RatersMemory memory) {
    Threads<kThreads> block;
    for (std::int64_t index = blockIdx.x; index < batch.count; index += gridDim.x)
        join_trimaps(block, batch, memory, index);
}

}  // namespace

std::size_t trimap_workspace_bytes(std::int32_t rows, std::int32_t cols) {
    return trimap_bytes(rows, cols) <= kMostShared ? 0 : aligned(trimap_bytes(rows, cols));
}

void split_trimap_cuda(const MorphologyBatch& batch, void* stream) {
    split_cuda(batch, kForeground, kUnknown, stream);
}

void trimap_from_mask_cuda(const MorphologyBatch& batch, void* stream) {
    check_batch(batch, true, true);
    require(batch.priors == nullptr || !batch.packed, "priors need masks that are not packed");
    if (batch.count == 0) return;
    const std::size_t share = trimap_workspace_bytes(batch.rows, batch.cols);
    const std::size_t bytes = share == 0 ? trimap_bytes(batch.rows, batch.cols) : 0;
    const std::int64_t blocks = share == 0 ? blocks_for(batch.count)
                                           : blocks_for(images_at_a_time(batch, share));
    allow_shared(trimap_images, bytes);
    trimap_images<<<int(blocks), kThreads, bytes, static_cast<cudaStream_t>(stream)>>>(batch,
                                                                                       share);
    check(cudaGetLastError(), "launching trimaps");
}

std::size_t raters_workspace_bytes(std::int64_t count, std::int32_t rows, std::int32_t cols,
                                   std::int64_t at_a_time) {
    return RatersMemory::bytes(count, rows, cols) +
           trimap_workspace_bytes(rows, cols) * std::size_t(std::min(count, at_a_time));
}

void trimap_from_raters_cuda(const RatersBatch& batch, void* stream_pointer) {
    require(batch.count >= 0, "count must be >= 0");
    require(batch.raters >= 1 && batch.rows >= 1 && batch.cols >= 1,
            "raters, rows and cols must be >= 1");
    require((std::isnan(batch.erosion) || is_radius(batch.erosion)) &&
                (std::isnan(batch.dilation) || is_radius(batch.dilation)),
            "erosion and dilation must be NaN, or finite and >= 0");
    require(is_finite(batch.row_spacing) && batch.row_spacing > 0 && is_finite(batch.col_spacing) &&
                batch.col_spacing > 0,
            "spacing must be finite and > 0");
    if (batch.count == 0) return;
    require(batch.masks != nullptr && batch.out != nullptr, "masks and out must not be null");
    const std::size_t least = RatersMemory::bytes(batch.count, batch.rows, batch.cols);
    require(batch.workspace != nullptr && batch.workspace_bytes >= least,
            "workspace is smaller than such a batch needs");
    const RatersMemory memory(batch.workspace, batch.count, batch.rows, batch.cols);
    const auto stream = static_cast<cudaStream_t>(stream_pointer);
    const int blocks = blocks_for(batch.count);
    vote_images<<<blocks, kThreads, 0, stream>>>(batch, memory);
    check(cudaGetLastError(), "launching raters' votes");
    for (const bool inner : {true, false}) {
        MorphologyBatch part = strategy_one(batch, memory, inner);
        part.workspace_bytes = batch.workspace_bytes - least;
        trimap_from_mask_cuda(part, stream_pointer);
    }
    join_images<<<blocks, kThreads, 0, stream>>>(batch, memory);
    check(cudaGetLastError(), "launching raters' trimaps");
}

}  // namespace dsnet::cuda
