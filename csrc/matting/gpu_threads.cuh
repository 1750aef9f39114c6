// The threads of a GPU as gpu_system.h asks for them: a cluster of blocks, or of one alone.
#pragma once

#include <cooperative_groups.h>

#include "matting/gpu_region.h"

namespace dsnet::matting_device {

constexpr int kWarp = 32;
constexpr unsigned kWholeWarp = 0xffffffffu;

// Halves of a warp onto each other, all of `width` lanes; all get the same bits.
template <int width, class Op>
DSNET_DEVICE double halve(double part, Op op) {
    DSNET_UNROLL
    for (int half = width / 2; half > 0; half /= 2)
        part = op(part, __shfl_xor_sync(kWholeWarp, part, half));
    return part;
}

// What one block needs to count and to sum. Two of each: what was left is still read while the next
// is written.
template <int kThreads, int kBlocks>
struct Scratch {
    static constexpr int kWarps = kThreads / kWarp;
    static constexpr int kAtOnce = kBlocks > 1 ? 2 : 5;  // values
    double parts[2][kAtOnce][kBlocks * kWarps];
    int counts[2][kWarps];
};

template <int kThreads_, int kBlocks>
class ClusterBase {
  public:
    static constexpr int kThreads = kThreads_, kWarps = kThreads / kWarp;
    using Scratch = matting_device::Scratch<kThreads, kBlocks>;
    static_assert(kThreads % kWarp == 0 && kWarps <= kWarp, "whole warps");

    template <class T>
    struct Own {
        T value;
        DSNET_DEVICE T& operator[](int) { return value; }
    };
    template <class T>
    DSNET_DEVICE static T& of_block(T* values, int) {
        return *values;
    }

    // The thread's number in its block.
    DSNET_DEVICE static int local(int) { return int(threadIdx.x); }

    // Calls emit(t, item, value, position) for the block's items whose value is not 0, positions
    // counted in the items' order, and total(t, count) once.
    template <class Items, class Flag, class Emit, class Total>
    DSNET_DEVICE void compact(Items items_of, Flag flag, Emit emit, Total total) {
        const int t = int(threadIdx.x), warp = t / kWarp, items = items_of(t);
        int count = 0, turn = 0;
        for (int first = 0; first < items; first += kThreads) {
            const int item = first + t;
            const unsigned value = item < items ? flag(t, item) : 0u;
            const unsigned ballot = __ballot_sync(kWholeWarp, value != 0);
            if (t % kWarp == 0) scratch_.counts[turn][warp] = __popc(ballot);
            __syncthreads();
            int before = 0, all = 0;
            DSNET_UNROLL
            for (int i = 0; i < kWarps; ++i) {
                const int here = scratch_.counts[turn][i];
                before += i < warp ? here : 0;
                all += here;
            }
            if (value != 0)
                emit(t, item, value, count + before + __popc(ballot & ((1u << (t % kWarp)) - 1)));
            count += all;
            turn ^= 1;
        }
        __syncthreads();
        if (t == 0) total(t, count);
    }

  protected:
    DSNET_DEVICE explicit ClusterBase(Scratch& scratch) : scratch_(scratch) {}

    Scratch& scratch_;
    int turn_ = 0;  // of the reductions, the same in all blocks of a cluster
};

template <int kThreads_, int kMostBlocks>
class Cluster;

// Of one block, on any GPU.
template <int kThreads_>
class Cluster<kThreads_, 1> : public ClusterBase<kThreads_, 1> {
    using Base = ClusterBase<kThreads_, 1>;

  public:
    using Base::kThreads, Base::kWarps;
    template <class T>
    using Own = typename Base::template Own<T>;

    DSNET_DEVICE explicit Cluster(typename Base::Scratch& scratch) : Base(scratch) {}
    DSNET_DEVICE static int blocks() { return 1; }
    DSNET_DEVICE static int threads() { return kThreads; }
    DSNET_DEVICE void sync() { __syncthreads(); }

    template <class Body>
    DSNET_DEVICE void each(Body body) {
        body(int(threadIdx.x));
    }
    // body(t, rank) by one thread of each block.
    template <class Body>
    DSNET_DEVICE void once(Body body) {
        if (threadIdx.x == 0) body(0, 0);
    }

    // Another block's planes.
    template <class Store>
    DSNET_DEVICE static double* beside(Store*, int, int) {
        return nullptr;
    }

    // Warps first, then over the warps.
    template <class Op, int K>
    DSNET_DEVICE Values<K> reduce(Own<Values<K>>& own) {
        static_assert(K <= Base::Scratch::kAtOnce, "no room");
        static_assert((kWarps & (kWarps - 1)) == 0, "sums halve the warps");
        auto& parts = this->scratch_.parts[this->turn_];
        Values<K> all;
        DSNET_UNROLL
        for (int k = 0; k < K; ++k) {
            const double part = halve<kWarp>(own.value.of[k], Op());
            if (threadIdx.x % kWarp == 0) parts[k][threadIdx.x / kWarp] = part;
        }
        __syncthreads();
        DSNET_UNROLL
        for (int k = 0; k < K; ++k) all.of[k] = halve<kWarps>(parts[k][threadIdx.x % kWarps], Op());
        this->turn_ ^= 1;
        return all;
    }
};

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
template <int kThreads_, int kMostBlocks>
class Cluster : public ClusterBase<kThreads_, kMostBlocks> {
    using Base = ClusterBase<kThreads_, kMostBlocks>;

  public:
    using Base::kThreads, Base::kWarps;
    template <class T>
    using Own = typename Base::template Own<T>;

    DSNET_DEVICE explicit Cluster(typename Base::Scratch& scratch) : Base(scratch) {}
    DSNET_DEVICE static auto cluster() { return cooperative_groups::this_cluster(); }
    DSNET_DEVICE static int blocks() { return int(cluster().num_blocks()); }
    DSNET_DEVICE static int rank() { return int(cluster().block_rank()); }
    DSNET_DEVICE static int threads() { return kThreads * blocks(); }
    DSNET_DEVICE void sync() { cluster().sync(); }

    template <class Body>
    DSNET_DEVICE void each(Body body) {
        body(rank() * kThreads + int(threadIdx.x));
    }
    template <class Body>
    DSNET_DEVICE void once(Body body) {
        if (threadIdx.x == 0) body(rank() * kThreads, rank());
    }

    template <class Store>
    DSNET_DEVICE static double* beside(Store* store, int, int step) {
        return cluster().map_shared_rank(store->planes(), rank() + step);
    }

    // Warps first; each warp tells every block, which adds up every 32nd, then its lanes.
    template <class Op, int K>
    DSNET_DEVICE Values<K> reduce(Own<Values<K>>& own) {
        constexpr int kAtOnce = Base::Scratch::kAtOnce;
        // Addresses are cheaper to find again than to keep.
        const int thread = opaque(int(threadIdx.x));
        const int lane = thread % kWarp, all_blocks = opaque(blocks());
        Values<K> all;
        DSNET_UNROLL
        for (int first = 0; first < K; first += kAtOnce) {
            const int at = opaque(rank()) * kWarps + thread / kWarp;
            DSNET_UNROLL
            for (int k = first; k < K && k < first + kAtOnce; ++k) {
                const double part = halve<kWarp>(own.value.of[k], Op());
                if (lane < all_blocks)
                    *cluster().map_shared_rank(&this->scratch_.parts[this->turn_][k - first][at],
                                               lane) = part;
            }
            cluster().sync();
            DSNET_UNROLL
            for (int k = first; k < K && k < first + kAtOnce; ++k) {
                const auto& parts = this->scratch_.parts[this->turn_][k - first];
                double part = parts[lane];
                for (int i = lane + kWarp; i < all_blocks * kWarps; i += kWarp)
                    part = Op()(part, parts[i]);
                all.of[k] = halve<kWarp>(part, Op());
            }
            this->turn_ ^= 1;
        }
        return all;
    }
};
#endif

}  // namespace dsnet::matting_device
