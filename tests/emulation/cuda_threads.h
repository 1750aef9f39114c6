// What device code asks of CUDA, on fibers.
#pragma once

#include "fibers.h"

#define __host__
#define __device__
#define __forceinline__ inline
#define __shared__ static

namespace emulation {

struct Index {
    unsigned x;
};

}  // namespace emulation

#define threadIdx (emulation::Index{unsigned(emulation::launch.current->thread)})

inline void __syncthreads() {
    wait_at(emulation::launch.block_barriers[std::size_t(emulation::launch.current->rank)]);
}

inline double __shfl_xor_sync(unsigned, double value, int mask) {
    const auto me = std::size_t(emulation::launch.number());
    wait_at(emulation::warp_barrier());
    emulation::launch.values[me] = value;
    wait_at(emulation::warp_barrier());
    return emulation::launch.values[me ^ std::size_t(mask)];
}

inline unsigned __ballot_sync(unsigned, bool vote) {
    const auto me = std::size_t(emulation::launch.number());
    wait_at(emulation::warp_barrier());
    emulation::launch.votes[me] = vote;
    wait_at(emulation::warp_barrier());
    unsigned ballot = 0;
    for (unsigned lane = 0; lane < 32; ++lane)
        ballot |= unsigned(emulation::launch.votes[me / 32 * 32 + lane]) << lane;
    return ballot;
}

// Fibers take turns at barriers alone.
inline int atomicAdd(int* sum, int value) {
    const int before = *sum;
    *sum += value;
    return before;
}

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }

// Of all threads of a block.
inline int __syncthreads_or(int vote) {
    const auto me = std::size_t(emulation::launch.number());
    const auto first = me - std::size_t(emulation::launch.current->thread);
    __syncthreads();
    emulation::launch.votes[me] = vote != 0;
    __syncthreads();
    bool any = false;
    for (int t = 0; t < emulation::launch.threads; ++t)
        any = any || emulation::launch.votes[first + std::size_t(t)];
    return any;
}

template <class Operation>
int reduced_in_warp(int value, Operation operation) {
    const auto me = std::size_t(emulation::launch.number());
    wait_at(emulation::warp_barrier());
    emulation::launch.values[me] = value;
    wait_at(emulation::warp_barrier());
    auto all = int(emulation::launch.values[me / 32 * 32]);
    for (std::size_t lane = 1; lane < 32; ++lane)
        all = operation(all, int(emulation::launch.values[me / 32 * 32 + lane]));
    return all;
}

inline int __reduce_add_sync(unsigned, int value) {
    return reduced_in_warp(value, [](int a, int b) { return a + b; });
}

inline int __reduce_min_sync(unsigned, int value) {
    return reduced_in_warp(value, [](int a, int b) { return a < b ? a : b; });
}
