#include "matting.h"

#include <cmath>
#include <limits>
#include <vector>

#include "matting/gpu_block.h"
#include "matting/gpu_store.h"

namespace dsnet {
namespace {

using namespace matting_device;

// gpu_threads.cuh's Cluster as a loop: the threads of `blocks` blocks one after the other, between
// two barriers each. Memory that no thread wrote holds NaN, as a GPU's may.
template <int kThreads_>
class HostCluster {
  public:
    static constexpr int kThreads = kThreads_;
    static constexpr int kWarp = 32, kWarps = kThreads / kWarp;

    // Another order gives the same bits, unless a barrier is missing.
    HostCluster(int blocks, bool backwards) : blocks_(blocks), backwards_(backwards) {}

    template <class T>
    struct Own {
        std::vector<T> values = std::vector<T>(std::size_t{kThreads} * kMostBlocks);
        T& operator[](int t) { return values[static_cast<std::size_t>(t)]; }
    };
    template <class T>
    static T& of_block(T* values, int t) {
        return values[t / kThreads];
    }
    template <class Store>
    static double* beside(Store* stores, int t, int step) {
        return stores[t / kThreads + step].planes();
    }
    static int local(int t) { return t % kThreads; }
    int blocks() const { return blocks_; }
    int threads() const { return blocks_ * kThreads; }
    void sync() {}

    template <class Body>
    void each(Body body) {
        for (int t = 0; t < threads(); ++t) body(backwards_ ? threads() - 1 - t : t);
    }
    template <class Body>
    void once(Body body) {
        for (int rank = 0; rank < blocks_; ++rank) body(rank * kThreads, rank);
    }

    // In the order of gpu_threads.cuh.
    template <class Op, int K>
    Values<K> reduce(Own<Values<K>>& own) {
        const Op op;
        Values<K> all;
        for (int k = 0; k < K; ++k) {
            std::vector<double> parts;
            for (int warp = 0; warp < blocks_ * kWarps; ++warp) {
                double part[kWarp];
                for (int lane = 0; lane < kWarp; ++lane)
                    part[lane] = own[warp * kWarp + lane].of[k];
                parts.push_back(halve(part, kWarp, op));
            }
            for (std::size_t i = kWarp; i < parts.size(); ++i)
                parts[i % kWarp] = op(parts[i % kWarp], parts[i]);
            all.of[k] = halve(parts.data(), blocks_ == 1 ? kWarps : kWarp, op);
        }
        return all;
    }

    template <class Items, class Flag, class Emit, class Total>
    void compact(Items items_of, Flag flag, Emit emit, Total total) {
        for (int rank = 0; rank < blocks_; ++rank) {
            const int t = rank * kThreads, items = items_of(t);
            int count = 0;
            for (int item = 0; item < items; ++item)
                if (const auto value = flag(t, item)) emit(t, item, value, count++);
            total(t, count);
        }
    }

  private:
    template <class Op>
    static double halve(double* part, int count, Op op) {
        for (int half = count / 2; half > 0; half /= 2)
            for (int i = 0; i < half; ++i) part[i] = op(part[i], part[i + half]);
        return part[0];
    }

    int blocks_;
    bool backwards_;
};

template <class Block, class Store>
cuda::MattingResult solve_one(std::vector<Store>& stores, const Problem& problem, bool backwards) {
    Block block(static_cast<int>(stores.size()), backwards);
    std::vector<Frame> frames(stores.size());
    for (Frame& frame : frames) frame.problem = problem;
    MattingSolve<Block, Store>(block, stores.data(), frames.data()).run();
    return frames[0].result;
}

// Each store's shared and device memory, and the stores.
template <class Store>
cuda::MattingResult solve_in_registers(const Problem& problem, int blocks, bool backwards) {
    constexpr double nothing = std::numeric_limits<double>::quiet_NaN();
    std::vector<std::vector<double>> memory;
    std::vector<Store> stores;
    for (int rank = 0; rank < blocks; ++rank) {
        memory.emplace_back(Store::kSharedBytes / sizeof(double) + 1, nothing);
        double* const shared = memory.back().data();
        memory.emplace_back(Store::kDeviceBytes / sizeof(double), nothing);
        stores.emplace_back(shared, memory.back().data());
    }
    return solve_one<HostCluster<Store::kThreads>>(stores, problem, backwards);
}

cuda::MattingResult solve_in_memory(const Problem& problem, bool backwards) {
    const LargeStore::Size size(problem.rows, problem.cols);
    std::vector<double> device(size.bytes() / sizeof(double) + 1,
                               std::numeric_limits<double>::quiet_NaN());
    std::vector<LargeStore> stores;
    stores.emplace_back(device.data(), problem.rows, problem.cols);
    return solve_one<HostCluster<kLargeThreads>>(stores, problem, backwards);
}

}  // namespace

std::vector<const char*> matting_on_host(const cuda::MattingBatch& batch, MattingPath path,
                                         bool backwards) {
    std::vector<const char*> paths;
    for (std::int64_t index = 0; index < batch.count; ++index) {
        const Problem problem = problem_of(batch, index);
        cuda::MattingResult& result = batch.results[index];
        result = {};
        result.status = cuda::kMattingPending;
        const char* solved_by = "";
        const auto attempt = [&](const char* name, auto solve) {
            if (result.status != cuda::kMattingPending) return;
            result = solve();
            solved_by = name;
        };
        if (path == MattingPath::kAny)
            attempt("small", [&] { return solve_in_registers<SmallStore>(problem, 1, backwards); });
        if (path != MattingPath::kMemory) {
            attempt("narrow", [&] {
                return solve_in_registers<BandStore<kNarrowBand>>(problem, kNarrowBlocks,
                                                                  backwards);
            });
            attempt("wide", [&] {
                return solve_in_registers<BandStore<kWideBand>>(problem, kWideBlocks, backwards);
            });
        }
        attempt("memory", [&] { return solve_in_memory(problem, backwards); });
        paths.push_back(solved_by);
    }
    return paths;
}

}  // namespace dsnet
