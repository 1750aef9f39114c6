// Batched closed-form matting: a block of threads for each image, block after block over the batch.
#include "matting/gpu.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "gpu/error.h"
#include "matting/gpu_block.h"
#include "matting/gpu_store.h"
#include "matting/gpu_threads.cuh"

namespace dsnet::cuda {
namespace {

using namespace matting_device;

constexpr std::size_t kShareAlignment = 256;

DSNET_DEVICE double* share_of(const MattingBatch& batch, std::size_t share, unsigned number) {
    return reinterpret_cast<double*>(static_cast<char*>(batch.workspace) + share * number);
}

// What is in shared memory need not stay in registers.
DSNET_DEVICE void open_frame(Frame& frame, const MattingBatch& batch, std::int64_t index) {
    if (threadIdx.x != 0) return;
    frame.index = index;
    frame.problem = problem_of(batch, index);
}

// Images whose region does not fit are left pending.
__global__ void __launch_bounds__(SmallStore::kThreads, 1)
    solve_small(const __grid_constant__ MattingBatch batch, std::size_t share) {
    using Block = Cluster<SmallStore::kThreads, 1>;
    extern __shared__ double shared[];
    __shared__ Block::Scratch scratch;
    __shared__ Frame frame;
    Block block(scratch);
    for (std::int64_t index = blockIdx.x; index < batch.count; index += gridDim.x) {
        open_frame(frame, batch, index);
        block.sync();
        SmallStore store(shared, share_of(batch, share, blockIdx.x));
        MattingSolve<Block, SmallStore>(block, &store, &frame).run();
        block.sync();
        index = frame.index;
        if (threadIdx.x == 0) batch.results[index] = frame.result;
        block.sync();
    }
}

// Of the images that are pending those whose region fits a cluster.
template <int kMostCols>
__global__ void __launch_bounds__(kBandThreads, 1)
    solve_bands(const __grid_constant__ MattingBatch batch, std::size_t share, bool all) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
    using Block = Cluster<kBandThreads, kMostBlocks>;
    using Store = BandStore<kMostCols>;
    extern __shared__ double shared[];
    __shared__ Block::Scratch scratch;
    __shared__ Frame frame;
    Block block(scratch);
    for (std::int64_t index = blockIdx.x / Block::blocks(); index < batch.count;
         index += gridDim.x / Block::blocks()) {
        if (!all && batch.results[index].status != kMattingPending) continue;
        open_frame(frame, batch, index);
        block.sync();
        double* const device = share_of(batch, share, blockIdx.x / Block::blocks());
        Store store(shared, device + Block::rank() * (kBandDeviceBytes / sizeof(double)));
        MattingSolve<Block, Store>(block, &store, &frame).run();
        block.sync();
        index = frame.index;
        if (Block::rank() == 0 && threadIdx.x == 0) batch.results[index] = frame.result;
        block.sync();
    }
#endif
}

// Without `all` the images that are pending.
__global__ void __launch_bounds__(kLargeThreads, 1)
    solve_large(const __grid_constant__ MattingBatch batch, std::size_t share, bool all) {
    using Block = Cluster<kLargeThreads, 1>;
    __shared__ Block::Scratch scratch;
    __shared__ Frame frame;
    Block block(scratch);
    for (std::int64_t index = blockIdx.x; index < batch.count; index += gridDim.x) {
        if (!all && batch.results[index].status != kMattingPending) continue;
        open_frame(frame, batch, index);
        block.sync();
        LargeStore store(share_of(batch, share, blockIdx.x), batch.rows, batch.cols);
        MattingSolve<Block, LargeStore>(block, &store, &frame).run();
        block.sync();
        index = frame.index;
        if (threadIdx.x == 0) batch.results[index] = frame.result;
        block.sync();
    }
}

using BandKernel = void (*)(MattingBatch, std::size_t, bool);

struct BandPlan {
    BandKernel kernel;
    int blocks;        // of a cluster
    int clusters = 0;  // at a time
};

// How the current device runs a batch: each kernel takes what those before it could not hold.
struct Plan {
    int small_blocks = 0;
    BandPlan bands[2] = {{solve_bands<kNarrowBand>, kNarrowBlocks},
                         {solve_bands<kWideBand>, kWideBlocks}};
    int large_blocks = 0;
};

int attribute(cudaDeviceAttr which, int device) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, which, device), "asking for a property of the device");
    return value;
}

// Whether the kernel's shared memory is there; then it may be launched with it.
template <class Kernel>
bool take_shared(Kernel kernel, std::size_t bytes, int device) {
    cudaFuncAttributes attributes;
    check(cudaFuncGetAttributes(&attributes, kernel), "loading a matting kernel");
    const int most = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    if (bytes + attributes.sharedSizeBytes > static_cast<std::size_t>(most)) return false;
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(bytes)),
          "asking for a matting kernel's shared memory");
    return true;
}

template <class Kernel>
int resident(Kernel kernel, int threads, std::size_t shared, int device) {
    int blocks = 0;
    check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads, shared),
          "asking for a matting kernel's occupancy");
    return blocks * attribute(cudaDevAttrMultiProcessorCount, device);
}

// `attribute` must live as long as what is returned.
cudaLaunchConfig_t cluster_config(int clusters, int blocks, cudaLaunchAttribute& attribute) {
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = static_cast<unsigned>(blocks);
    attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(static_cast<unsigned>(clusters * blocks));
    config.blockDim = dim3(kBandThreads);
    config.dynamicSmemBytes = kBandSharedBytes;
    config.attrs = &attribute;
    config.numAttrs = 1;
    return config;
}

Band whole_of(std::int32_t rows, std::int32_t cols) {
    return Band::of({0, 0, rows, cols}, 0, 1, SmallStore::kStride);
}

Plan plan_for(std::int64_t count, std::int32_t rows, std::int32_t cols) {
    int device = 0;
    check(cudaGetDevice(&device), "asking for the current device");
    const auto needed = [&](int at_once) {
        return static_cast<int>(std::min<std::int64_t>(at_once, count));
    };
    Plan plan;
    if (take_shared(solve_small, SmallStore::kSharedBytes, device))
        plan.small_blocks =
            needed(resident(solve_small, SmallStore::kThreads, SmallStore::kSharedBytes, device));
    if (plan.small_blocks > 0 && SmallStore::fits(whole_of(rows, cols))) return plan;
    for (BandPlan& bands : plan.bands) {
        if (attribute(cudaDevAttrClusterLaunch, device) == 0) break;
        if (bands.blocks == kWideBlocks && cols <= kNarrowBand) continue;
        if (!take_shared(bands.kernel, kBandSharedBytes, device)) continue;
        cudaLaunchAttribute cluster;
        const cudaLaunchConfig_t config = cluster_config(1, bands.blocks, cluster);
        int clusters = 0;
        check(cudaOccupancyMaxActiveClusters(&clusters, bands.kernel, &config),
              "asking for a matting kernel's occupancy");
        bands.clusters = needed(clusters);
    }
    plan.large_blocks = needed(resident(solve_large, kLargeThreads, 0, device));
    return plan;
}

void check_size(std::int64_t count, std::int32_t rows, std::int32_t cols) {
    const auto refuse = [](const std::string& what, std::int64_t came) {
        throw std::invalid_argument(what + ", got " + std::to_string(came));
    };
    if (count < 0) refuse("count must not be negative", count);
    if (rows < 1) refuse("rows must be at least 1", rows);
    if (cols < 1) refuse("cols must be at least 1", cols);
    if (std::int64_t{rows} * cols > kMostMattingPixels)
        refuse("rows * cols must be at most " + std::to_string(kMostMattingPixels),
               std::int64_t{rows} * cols);
}

void check_batch(const MattingBatch& batch) {
    check_size(batch.count, batch.rows, batch.cols);
    const auto positive = [](double value, const char* name) {
        if (!(value > 0 && std::isfinite(value)))
            throw std::invalid_argument(std::string(name) + " must be positive and finite, got " +
                                        std::to_string(value));
    };
    const auto not_negative = [](double value, const char* name) {
        if (!(value >= 0 && std::isfinite(value)))
            throw std::invalid_argument(std::string(name) +
                                        " must be finite and not negative, got " +
                                        std::to_string(value));
    };
    const auto present = [](const void* pointer, const char* name) {
        if (pointer == nullptr)
            throw std::invalid_argument(std::string(name) + " must not be null");
    };
    positive(batch.epsilon, "epsilon");
    positive(batch.rtol, "rtol");
    not_negative(batch.prior_weight, "prior_weight");
    not_negative(batch.max_iterations, "max_iterations");
    if (batch.count == 0) return;
    present(batch.images, "images");
    present(batch.trimaps, "trimaps");
    present(batch.alphas, "alphas");
    present(batch.results, "results");
    present(batch.workspace, "workspace");
    if (reinterpret_cast<std::uintptr_t>(batch.workspace) % 16 != 0)
        throw std::invalid_argument("workspace must be aligned to 16 bytes");
    const std::size_t least_bytes = matting_block_bytes(batch.rows, batch.cols);
    if (batch.workspace_bytes < least_bytes)
        throw std::invalid_argument("workspace_bytes must be at least " +
                                    std::to_string(least_bytes) + ", got " +
                                    std::to_string(batch.workspace_bytes));
}

}  // namespace

std::size_t matting_block_bytes(std::int32_t rows, std::int32_t cols) {
    check_size(0, rows, cols);
    // Whichever path an image takes, and whichever device.
    std::size_t bytes =
        std::max<std::size_t>(SmallStore::kDeviceBytes, LargeStore::Size(rows, cols).bytes());
    if (!SmallStore::fits(whole_of(rows, cols)))
        bytes = std::max<std::size_t>(bytes, kMostBlocks * kBandDeviceBytes);
    return (bytes + kShareAlignment - 1) / kShareAlignment * kShareAlignment;
}

std::size_t matting_workspace_bytes(std::int64_t count, std::int32_t rows, std::int32_t cols) {
    check_size(count, rows, cols);
    const Plan plan = plan_for(count, rows, cols);
    const int shares = std::max(
        {plan.small_blocks, plan.bands[0].clusters, plan.bands[1].clusters, plan.large_blocks, 1});
    return static_cast<std::size_t>(shares) * matting_block_bytes(rows, cols);
}

void matting_cuda(const MattingBatch& batch, void* stream) {
    check_batch(batch);
    if (batch.count == 0) return;
    const std::size_t share = matting_block_bytes(batch.rows, batch.cols);
    const Plan plan = plan_for(batch.count, batch.rows, batch.cols);
    const auto at_once = [&](int blocks) {
        const std::size_t shares = batch.workspace_bytes / share;
        return static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(blocks), shares));
    };
    auto* const on = static_cast<cudaStream_t>(stream);
    bool all = true;
    if (plan.small_blocks > 0) {
        solve_small<<<at_once(plan.small_blocks), SmallStore::kThreads, SmallStore::kSharedBytes,
                      on>>>(batch, share);
        check(cudaGetLastError(), "launching the matting kernel of small regions");
        all = false;
    }
    for (const BandPlan& bands : plan.bands) {
        if (bands.clusters == 0) continue;
        cudaLaunchAttribute cluster;
        cudaLaunchConfig_t config = cluster_config(at_once(bands.clusters), bands.blocks, cluster);
        config.stream = on;
        check(cudaLaunchKernelEx(&config, bands.kernel, batch, share, all),
              "launching the matting kernel of larger regions");
        all = false;
    }
    if (plan.large_blocks > 0) {
        solve_large<<<at_once(plan.large_blocks), kLargeThreads, 0, on>>>(batch, share, all);
        check(cudaGetLastError(), "launching the matting kernel of the largest regions");
    }
}

}  // namespace dsnet::cuda
