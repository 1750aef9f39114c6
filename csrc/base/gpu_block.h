// A block of threads, on a GPU or as a loop on the CPU, so that tests can run there what a kernel
// does. Block logic is a template over either:
//
//     template <class Block>
//     DSNET_BLOCK void work(Block& block, ...) {
//         block.each([&](int t) { ... });  // thread t of Block::kThreads
//         block.sync();
//         block.each([&](int t) { ... });
//     }
//
// any(), sum() and least() of what body(t) returns are the same for all threads, and syncs too.
// Between two syncs no thread may read what another one writes, so the order of the threads does
// not matter; a host block that runs them backwards finds a missing sync. Variables that are the
// same for all threads live outside of `each`, a thread's own ones inside. Host and device may
// differ in nothing else: whatever a thread computes is in a DSNET_HOST_DEVICE function.
#pragma once

#if defined(__CUDACC__)
#ifndef DSNET_HOST_DEVICE
#define DSNET_HOST_DEVICE __host__ __device__ __forceinline__
#endif
#ifndef DSNET_BLOCK
#define DSNET_BLOCK __device__ __forceinline__
#endif
#else
#ifndef DSNET_HOST_DEVICE
#define DSNET_HOST_DEVICE inline
#endif
#ifndef DSNET_BLOCK
#define DSNET_BLOCK inline
#endif
#endif

namespace dsnet {

#if defined(__CUDACC__)

template <int kThreads_>
struct DeviceBlock {
    static constexpr int kThreads = kThreads_;

    template <class Body>
    __device__ __forceinline__ void each(Body body) {
        body(static_cast<int>(threadIdx.x));
    }
    __device__ __forceinline__ void sync() { __syncthreads(); }
    template <class Body>
    __device__ __forceinline__ bool any(Body body) {
        return __syncthreads_or(body(static_cast<int>(threadIdx.x))) != 0;
    }
    template <class Body>
    __device__ __forceinline__ int sum(Body body) {
        return combine(__reduce_add_sync(~0u, body(static_cast<int>(threadIdx.x))),
                       [](int a, int b) { return a + b; });
    }
    template <class Body>
    __device__ __forceinline__ int least(Body body) {
        return combine(__reduce_min_sync(~0u, body(static_cast<int>(threadIdx.x))),
                       [](int a, int b) { return a < b ? a : b; });
    }

  private:
    // Of whole warps, the same for all threads of each.
    template <class Operation>
    __device__ __forceinline__ int combine(int value, Operation operation) {
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

#else

template <int kThreads_>
struct HostBlock {
    static constexpr int kThreads = kThreads_;
    bool backwards = false;

    template <class Body>
    void each(Body body) {
        for (int t = 0; t < kThreads; ++t) body(backwards ? kThreads - 1 - t : t);
    }
    void sync() {}
    template <class Body>
    bool any(Body body) {
        bool found = false;
        each([&](int t) { found |= bool(body(t)); });
        return found;
    }
    template <class Body>
    int sum(Body body) {
        int all = 0;
        each([&](int t) { all += body(t); });
        return all;
    }
    template <class Body>
    int least(Body body) {
        int all = 0x7fffffff;
        each([&](int t) {
            const int value = body(t);
            all = value < all ? value : all;
        });
        return all;
    }
};

#endif

}  // namespace dsnet
