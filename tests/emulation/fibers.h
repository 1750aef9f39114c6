// GPU threads on the CPU: each is a fiber that runs until it waits at a barrier.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

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

enum class Order { kForwards, kBackwards, kShuffled };

inline void (*body)();

inline void enter() {
    body();
    launch.current->done = true;
    swapcontext(&launch.current->context, &launch.scheduler);
}

// Runs work() on all threads of all blocks at a time; stops with an error where they wait for each
// other for ever. `launch`'s shared memory is the caller's to set.
inline void run_fibers(int blocks, int threads, Order order, void (*work)()) {
    constexpr std::size_t kStackBytes = 65536;
    const int all = blocks * threads;
    launch.blocks = blocks;
    launch.threads = threads;
    launch.block_barriers.assign(std::size_t(blocks), {threads, 0, 0});
    launch.warp_barriers.assign(std::size_t(all / 32), {32, 0, 0});
    launch.cluster_barrier = {all, 0, 0};
    launch.values.assign(std::size_t(all), 0.0);
    launch.votes.assign(std::size_t(all), false);
    body = work;
    std::vector<std::unique_ptr<Fiber>> fibers;
    for (int i = 0; i < all; ++i) {
        fibers.push_back(std::make_unique<Fiber>());
        Fiber& fiber = *fibers.back();
        fiber.rank = i / threads;
        fiber.thread = i % threads;
        fiber.stack.resize(kStackBytes);
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = kStackBytes;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, &enter, 0);
    }
    if (order == Order::kBackwards) std::reverse(fibers.begin(), fibers.end());
    std::mt19937 random(1);
    std::vector<bool> resting(std::size_t(all / 32));
    for (bool running = true; running;) {
        running = false;
        if (order == Order::kShuffled) {
            std::shuffle(fibers.begin(), fibers.end(), random);
            // Some warps fall behind by far.
            for (std::size_t warp = 0; warp < resting.size(); ++warp)
                if (random() % 8 == 0) resting[warp] = random() % 4 == 0;
        }
        bool moved = false;
        for (const auto& fiber : fibers) {
            running = running || !fiber->done;
            const int warp = (fiber->rank * threads + fiber->thread) / 32;
            if (!fiber->ready() || resting[std::size_t(warp)]) continue;
            launch.current = fiber.get();
            swapcontext(&launch.scheduler, &fiber->context);
            moved = true;
        }
        const bool rests = std::find(resting.begin(), resting.end(), true) != resting.end();
        if (running && !moved && !rests) {
            std::fputs("threads wait at different barriers\n", stderr);
            std::exit(3);
        }
    }
}

}  // namespace emulation
