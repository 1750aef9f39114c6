// Functions that are compiled for the GPU, and the threads of a block. What a block does is a
// template over it:
//
//     template <class Block>
//     DSNET_DEVICE void work(Block& block, ...) {
//         block.each([&](int t) { ... });  // thread t of Block::kThreads
//         block.sync();
//         block.each([&](int t) { ... });
//     }
//
// any(), sum() and least() of what body(t) returns are the same for all threads, and syncs too.
// Between two syncs no thread may read what another one writes, so that the order of the threads
// does not matter; but several may add() to the same number. Variables that are the same for all
// threads live outside of `each`, a thread's own ones inside. So a plain loop over the threads
// gives the same bits without a GPU, as long as whatever a thread computes is in a
// DSNET_HOST_DEVICE function.
#pragma once

// Of a GPU's threads, and of either side. Without a GPU's compiler all are plain functions.
#if defined(__CUDACC__)
#define DSNET_DEVICE __device__ __forceinline__
#define DSNET_HOST_DEVICE __host__ __device__ __forceinline__
#define DSNET_UNROLL _Pragma("unroll")
#define DSNET_ROLLED _Pragma("unroll 1")
#else
#define DSNET_DEVICE inline
#define DSNET_HOST_DEVICE inline
#define DSNET_UNROLL
#define DSNET_ROLLED
#endif

#if defined(__CUDACC__)

#include <cstdint>

namespace dsnet {

template <int kThreads_>
struct Threads {
    static constexpr int kThreads = kThreads_;

    template <class Body>
    DSNET_DEVICE void each(Body body) {
        body(static_cast<int>(threadIdx.x));
    }
    DSNET_DEVICE void sync() { __syncthreads(); }
    DSNET_DEVICE void add(std::int32_t& sum, std::int32_t value) { atomicAdd(&sum, value); }
    template <class Body>
    DSNET_DEVICE bool any(Body body) {
        return __syncthreads_or(body(static_cast<int>(threadIdx.x))) != 0;
    }
    template <class Body>
    DSNET_DEVICE int sum(Body body) {
        return combine(__reduce_add_sync(~0u, body(static_cast<int>(threadIdx.x))),
                       [](int a, int b) { return a + b; });
    }
    template <class Body>
    DSNET_DEVICE int least(Body body) {
        return combine(__reduce_min_sync(~0u, body(static_cast<int>(threadIdx.x))),
                       [](int a, int b) { return a < b ? a : b; });
    }

  private:
    // Of whole warps, the same for all threads of each.
    template <class Operation>
    DSNET_DEVICE int combine(int value, Operation operation) {
        static_assert(kThreads % 32 == 0, "a block of whole warps");
        __shared__ int of_warp[kThreads / 32];
        if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
        __syncthreads();
        int all = of_warp[0];
        for (int warp = 1; warp < kThreads / 32; ++warp) all = operation(all, of_warp[warp]);
        __syncthreads();
        return all;
    }
};

}  // namespace dsnet

#endif
