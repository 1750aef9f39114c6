#include "matting_host_block.h"

#include <cmath>
#include <limits>
#include <vector>

#include "matting_block.h"
#include "matting_store.h"

namespace dsnet {
namespace {

using namespace matting_device;

// A block's threads one after the other, between two barriers each. Memory that no thread wrote holds
// NaN, as a GPU's may.
template <int kThreads_>
struct HostBlock {
    static constexpr int kThreads = kThreads_;
    static constexpr int kWarp = 32;
    // Another order gives the same bits, unless a barrier is missing.
    bool backwards;

    template <class T>
    struct Own {
        std::vector<T> values = std::vector<T>(kThreads);
        T& operator[](int t) { return values[static_cast<std::size_t>(t)]; }
    };

    template <class Body>
    void each(Body body) {
        for (int t = 0; t < kThreads; ++t) body(backwards ? kThreads - 1 - t : t);
    }
    void sync() {}

    // In the order of DeviceBlock: halves of a warp onto each other, then halves of the warps.
    template <class Op, int K>
    Values<K> reduce(Own<Values<K>>& own) {
        const Op op;
        Values<K> all;
        for (int k = 0; k < K; ++k) {
            std::vector<double> part(kThreads);
            for (int t = 0; t < kThreads; ++t) part[std::size_t(t)] = own[t].of[k];
            for (int first = 0; first < kThreads; first += kWarp)
                halve(part.data() + first, kWarp, 1, op);
            halve(part.data(), kThreads / kWarp, kWarp, op);
            all.of[k] = part[0];
        }
        return all;
    }

    template <class Flag, class Emit>
    int compact(int items, Flag flag, Emit emit) {
        int count = 0;
        for (int item = 0; item < items; ++item)
            if (const auto value = flag(item)) emit(item, value, count++);
        return count;
    }

  private:
    template <class Op>
    static void halve(double* part, int count, int step, Op op) {
        for (int half = count / 2; half > 0; half /= 2)
            for (int i = 0; i < half; ++i)
                part[i * step] = op(part[i * step], part[(i + half) * step]);
    }
};

template <class Block, class Store>
cuda::MattingResult solve_one(Store& store, const Problem& problem, bool backwards) {
    Block block = {backwards};
    return MattingSolve<Block, Store>(block, store, problem).run();
}

}  // namespace

void matting_on_host(const cuda::MattingBatch& batch, bool large, bool backwards) {
    constexpr double nothing = std::numeric_limits<double>::quiet_NaN();
    const LargeStore::Size size(batch.rows, batch.cols);
    for (std::int64_t index = 0; index < batch.count; ++index) {
        const Problem problem = problem_of(batch, index);
        cuda::MattingResult& result = batch.results[index];
        result.status = cuda::kMattingPending;
        if (!large) {
            std::vector<double> shared(SmallStore::kSharedBytes / sizeof(double) + 1, nothing);
            std::vector<double> device(SmallStore::kDeviceBytes / sizeof(double), nothing);
            SmallStore store(shared.data(), device.data());
            result = solve_one<HostBlock<kSmallThreads>>(store, problem, backwards);
        }
        if (result.status != cuda::kMattingPending) continue;
        std::vector<double> device(size.bytes() / sizeof(double) + 1, nothing);
        LargeStore store(device.data(), batch.rows, batch.cols);
        result = solve_one<HostBlock<kLargeThreads>>(store, problem, backwards);
    }
}

}  // namespace dsnet
