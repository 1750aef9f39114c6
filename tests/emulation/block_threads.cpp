// Runs a GPU block's own code for cuts, strategy 1's trimaps and raters' trimaps on emulated
// threads: each has its own copy of all that is not shared, and waits for the others at barriers.
//
//     block_threads INPUT OUTPUT   arrays one after the other, as test_threads.py says
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "cuda_threads.h"

#define __CUDACC__
#include "cut/gpu_block.h"
#include "trimap/gpu_of_mask.h"
#include "trimap/gpu_of_raters.h"

namespace {

using namespace dsnet;

// Whole words of what no thread wrote, as in a GPU's memory.
std::vector<std::uint64_t> memory_of(std::size_t bytes) {
    return std::vector<std::uint64_t>(bytes / 8 + 2, 0xa5a5a5a5a5a5a5a5u);
}

struct Input {
    std::vector<char> bytes;
    std::size_t at = 0;

    template <class T>
    const T* take(std::size_t count) {
        const auto* const taken = reinterpret_cast<const T*>(bytes.data() + at);
        at += (count * sizeof(T) + 15) / 16 * 16;
        return taken;
    }
};

struct Header {
    std::int64_t work, order, count, raters, rows, cols;
};

cuda::CutBatch cuts;
EdgeNetwork network;
cuda::MorphologyBatch morphology;
cuda::RatersBatch raters;
raters_device::RatersMemory* votes;
void* memory;

void cut() {
    __shared__ cut_device::FrameScratch frame;
    Threads<cut_device::kThreads> block;
    for (std::int64_t index = 0; index < cuts.count; ++index)
        cut_device::cut_image(block, cuts, index, memory, frame);
}

void trimap() {
    Threads<morphology_device::kThreads> block;
    for (std::int64_t index = 0; index < morphology.count; ++index)
        morphology_device::trimap_image(block, morphology, index, memory);
}

void vote() {
    Threads<raters_device::kThreads> block;
    for (std::int64_t index = 0; index < raters.count; ++index)
        raters_device::count_votes(block, raters, *votes, index);
}

void join() {
    Threads<raters_device::kThreads> block;
    for (std::int64_t index = 0; index < raters.count; ++index)
        raters_device::join_trimaps(block, raters, *votes, index);
}

void run(emulation::Order order, void (*work)()) { emulation::run_fibers(1, 128, order, work); }

template <class T>
void write(std::FILE* file, const std::vector<T>& values) {
    std::fwrite(values.data(), sizeof(T), values.size(), file);
}

}  // namespace

int main(int, char** arguments) {
    Input input;
    std::FILE* const from = std::fopen(arguments[1], "rb");
    std::fseek(from, 0, SEEK_END);
    input.bytes.resize(std::size_t(std::ftell(from)));
    std::rewind(from);
    if (std::fread(input.bytes.data(), 1, input.bytes.size(), from) != input.bytes.size()) return 2;
    std::fclose(from);
    const Header& header = *input.take<Header>(1);
    const auto order = static_cast<emulation::Order>(header.order);
    const auto count = std::size_t(header.count);
    const std::size_t pixels = count * std::size_t(header.rows) * std::size_t(header.cols);
    const auto rows = std::int32_t(header.rows), cols = std::int32_t(header.cols);
    std::vector<std::uint8_t> masks(pixels, 7), trimaps(pixels, 7);
    std::vector<float> priors(pixels, 7.0f);
    std::vector<CutResult> results(count);
    std::vector<std::uint64_t> held;
    std::FILE* const to = std::fopen(arguments[2], "wb");
    if (header.work == 0) {
        cuts = {};
        cuts.images = input.take<float>(pixels);
        cuts.plans = input.take<CutPlan>(count);
        cuts.seeds =
            input.take<std::uint64_t>(count * std::size_t(rows) * std::size_t((cols + 63) / 64));
        // Where it lies in the input it is not aligned as it must be.
        std::memcpy(&network, input.take<char>(sizeof(network)), sizeof(network));
        cuts.network = &network;
        cuts.masks = masks.data();
        cuts.trimaps = trimaps.data();
        cuts.priors = priors.data();
        cuts.results = results.data();
        cuts.count = header.count;
        cuts.rows = rows;
        cuts.cols = cols;
        held = memory_of(cut_device::CutMemory::bytes(rows, cols));
        memory = held.data();
        run(order, &cut);
        write(to, masks);
        write(to, trimaps);
        write(to, priors);
        write(to, results);
    } else {
        raters = {};
        raters.masks = input.take<std::uint8_t>(pixels * std::size_t(header.raters));
        raters.erosion = raters.dilation = NAN;
        raters.row_spacing = 1.0;
        raters.col_spacing = 0.5;
        raters.out = trimaps.data();
        raters.priors = priors.data();
        raters.count = header.count;
        raters.raters = std::int32_t(header.raters);
        raters.rows = rows;
        raters.cols = cols;
        held = memory_of(raters_device::RatersMemory::bytes(header.count, rows, cols));
        raters_device::RatersMemory places(held.data(), header.count, rows, cols);
        votes = &places;
        std::vector<std::uint64_t> workspace =
            memory_of(morphology_device::trimap_bytes(rows, cols));
        memory = workspace.data();
        run(order, &vote);
        for (const bool inner : {true, false}) {
            morphology = raters_device::strategy_one(raters, places, inner);
            run(order, &trimap);
        }
        run(order, &join);
        write(to, trimaps);
        write(to, priors);
    }
    std::fclose(to);
    return 0;
}
