// A block of threads as a loop on the CPU, in place of base/gpu_block.h's Threads.
#pragma once

#include <cstdint>

namespace dsnet {

// `backwards`: another order of the threads gives the same bits, unless a sync is missing.
template <int kThreads_>
struct HostBlock {
    static constexpr int kThreads = kThreads_;
    bool backwards = false;

    template <class Body>
    void each(Body body) {
        for (int t = 0; t < kThreads; ++t) body(backwards ? kThreads - 1 - t : t);
    }
    void sync() {}
    void add(std::int32_t& sum, std::int32_t value) { sum += value; }
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

}  // namespace dsnet
