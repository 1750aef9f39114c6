// What matting_blocks.cuh asks of CUDA, on the CPU: each GPU thread is a fiber that runs until it
// waits at a barrier. Stands in for the header of that name.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#define __device__
#define __forceinline__ inline

namespace emulation {

struct Barrier {
    int wanted = 0, arrived = 0, rounds = 0;
};

struct Fiber {
    ucontext_t context;
    int rank = 0, thread = 0;
    bool done = false;
    const Barrier* barrier = nullptr;  // that it waits at, since this round
    int round = 0;
    std::vector<char> stack;

    bool ready() const { return !done && (barrier == nullptr || barrier->rounds != round); }
};

// The launch that is under way.
struct Launch {
    int blocks = 0, threads = 0;
    std::size_t shared_bytes = 0;
    std::vector<double> shared;  // of all blocks
    std::vector<Barrier> block_barriers, warp_barriers;
    Barrier cluster_barrier;
    std::vector<double> values;  // of the threads, for their warps
    std::vector<bool> votes;
    ucontext_t scheduler;
    Fiber* current = nullptr;

    char* shared_of(int rank) {
        return reinterpret_cast<char*>(shared.data()) + std::size_t(rank) * shared_bytes;
    }
    int number() const { return current->rank * threads + current->thread; }
};

inline Launch launch;

inline void wait_at(Barrier& barrier) {
    Fiber& fiber = *launch.current;
    fiber.barrier = &barrier;
    fiber.round = barrier.rounds;
    if (++barrier.arrived == barrier.wanted) {
        barrier.arrived = 0;
        ++barrier.rounds;
    } else {
        swapcontext(&fiber.context, &launch.scheduler);
    }
}

inline Barrier& warp_barrier() { return launch.warp_barriers[std::size_t(launch.number() / 32)]; }

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

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }

namespace cooperative_groups {

struct Cluster {
    void sync() const { wait_at(emulation::launch.cluster_barrier); }
    unsigned num_blocks() const { return unsigned(emulation::launch.blocks); }
    unsigned block_rank() const { return unsigned(emulation::launch.current->rank); }
    template <class T>
    T* map_shared_rank(T* own, int rank) const {
        char* const mine = emulation::launch.shared_of(emulation::launch.current->rank);
        const auto offset = reinterpret_cast<char*>(own) - mine;
        if (rank < 0 || rank >= emulation::launch.blocks || offset < 0 ||
            offset >= std::ptrdiff_t(emulation::launch.shared_bytes))
            std::abort();
        return reinterpret_cast<T*>(emulation::launch.shared_of(rank) + offset);
    }
};

inline Cluster this_cluster() { return {}; }

}  // namespace cooperative_groups
