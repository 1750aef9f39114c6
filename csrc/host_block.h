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
};

#endif

}  // namespace dsnet
