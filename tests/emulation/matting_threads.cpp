// Runs gpu_threads.cuh, the part of the matting kernels that is a GPU's alone, on emulated threads
// in several orders, and compares every bit with the loops of matting.cpp.
//
//     matting_threads   prints a line for each problem; exit code 1 where one differs
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "cooperative_groups.h"
#include "matting.h"
#include "matting/gpu_store.h"
#include "matting/gpu_threads.cuh"

namespace {

using namespace dsnet;
using namespace dsnet::matting_device;
using emulation::launch;
using emulation::Order;

const cuda::MattingBatch* batch;
std::vector<double> device_memory;

// As the kernels of matting/gpu.cu.
template <class Block, class Store>
void solve_all() {
    struct Static {
        typename Block::Scratch scratch;
        Frame frame;
    };
    const int rank = launch.current->rank;
    auto* const shared = reinterpret_cast<double*>(launch.shared_of(rank));
    auto& fixed = *reinterpret_cast<Static*>(launch.shared_of(rank) + Store::kSharedBytes);
    Block block(fixed.scratch);
    for (std::int64_t index = 0; index < batch->count; ++index) {
        if (threadIdx.x == 0) fixed.frame.problem = problem_of(*batch, index);
        block.sync();
        Store store(shared, device_memory.data() + std::size_t(rank) * Store::kDeviceBytes / 8);
        MattingSolve<Block, Store>(block, &store, &fixed.frame).run();
        block.sync();
        if (rank == 0 && threadIdx.x == 0) batch->results[index] = fixed.frame.result;
        block.sync();
    }
}

template <class Block, class Store>
void run(int blocks, Order order) {
    constexpr double nothing = std::numeric_limits<double>::quiet_NaN();
    constexpr std::size_t kStaticBytes = 16384;
    launch.shared_bytes = (Store::kSharedBytes + kStaticBytes) / 16 * 16;
    launch.shared.assign(std::size_t(blocks) * launch.shared_bytes / 8, nothing);
    device_memory.assign(std::size_t(blocks) * Store::kDeviceBytes / 8, nothing);
    emulation::run_fibers(blocks, Store::kThreads, order, &solve_all<Block, Store>);
}

bool same(const char* solver, int rows, int cols, Order order) {
    constexpr std::int64_t kCount = 2;
    const std::size_t size = std::size_t(rows) * std::size_t(cols);
    std::mt19937 random(unsigned(rows * 1000 + cols));
    std::uniform_real_distribution<float> uniform(0.0f, 1.0f);
    std::vector<float> images(kCount * size), alphas[2];
    std::vector<std::uint8_t> trimaps(kCount * size);
    for (float& value : images) value = uniform(random);
    for (std::uint8_t& mark : trimaps) {
        const float drawn = uniform(random);
        mark = drawn < 0.25f ? kForeground : drawn > 0.75f ? kBackground : kUnknown;
    }
    images[size + 1] = 100.0f;  // the second image is of no use
    std::vector<cuda::MattingResult> results[2];
    const std::string name = solver;
    const char* solved_by = "";
    for (int side = 0; side < 2; ++side) {
        alphas[side].assign(kCount * size, 2.0f);
        results[side].resize(kCount);
        cuda::MattingBatch given = {};
        given.images = images.data();
        given.trimaps = trimaps.data();
        given.alphas = alphas[side].data();
        given.results = results[side].data();
        given.count = kCount;
        given.rows = rows;
        given.cols = cols;
        given.epsilon = 1e-7;
        given.rtol = 3e-6;
        given.max_iterations = 1000;
        batch = &given;
        if (side == 1)
            solved_by = matting_on_host(
                given, name == "small" ? MattingPath::kAny : MattingPath::kBands, false)[0];
        else if (name == "small")
            run<Cluster<SmallStore::kThreads, 1>, SmallStore>(1, order);
        else if (name == "narrow")
            run<Cluster<kBandThreads, kMostBlocks>, BandStore<kNarrowBand>>(kNarrowBlocks, order);
        else
            run<Cluster<kBandThreads, kMostBlocks>, BandStore<kWideBand>>(kWideBlocks, order);
    }
    const bool equal =
        std::memcmp(alphas[0].data(), alphas[1].data(), kCount * size * sizeof(float)) == 0 &&
        std::memcmp(results[0].data(), results[1].data(), kCount * sizeof(cuda::MattingResult)) ==
            0 &&
        name == solved_by && results[0][0].converged == 1 && results[0][0].iterations > 3;
    std::printf("%s %d x %d, order %d: %d iterations, %s\n", solver, rows, cols, int(order),
                int(results[0][0].iterations), equal ? "the same" : "DIFFERENT");
    return equal;
}

}  // namespace

int main() {
    int different = 0;
    different += !same("small", 33, 40, Order::kBackwards);
    different += !same("small", 33, 40, Order::kShuffled);
    // Bands with a second round of counting and a shorter last one without.
    different += !same("narrow", 69, 128, Order::kShuffled);
    different += !same("wide", 18, 129, Order::kShuffled);  // its last bands are empty
    return different > 0 ? 1 : 0;
}
