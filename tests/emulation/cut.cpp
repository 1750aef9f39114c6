#include "cut.h"

#include <vector>

#include "cut/gpu_block.h"
#include "host_block.h"

namespace dsnet {
namespace {

using namespace cut_device;

// What no thread wrote is anything, as in a GPU's memory.
std::vector<Word> memory_of(std::size_t bytes) {
    return std::vector<Word>(bytes / sizeof(Word) + 2, 0xa5a5a5a5a5a5a5a5u);
}

}  // namespace

void cut_on_host(const cuda::CutBatch& batch, bool backwards) {
    HostBlock<kThreads> block = {backwards};
    for (std::int64_t index = 0; index < batch.count; ++index) {
        std::vector<Word> memory = memory_of(CutMemory::bytes(batch.rows, batch.cols));
        std::vector<Word> scratch = memory_of(sizeof(CutScratch));
        cut_image(block, batch, index, memory.data(),
                  *reinterpret_cast<CutScratch*>(scratch.data()));
    }
}

double evidence_on_host(Image<const float> image, const CutPlan& plan, const EdgeNetwork& network,
                        bool backwards, float* log_odds) {
    HostBlock<kThreads> block = {backwards};
    std::vector<Word> frame = memory_of(sizeof(FrameScratch));
    edge_device::Evidence<HostBlock<kThreads>> evidence(
        block, plan.edge, network, {image.data, int(image.rows), int(image.cols)},
        *reinterpret_cast<FrameScratch*>(frame.data()));
    return evidence.run(plan.top, plan.left, log_odds);
}

std::int64_t border_cut_on_host(Image<const float> log_odds, Image<const std::uint8_t> seeds,
                                std::int32_t side, std::int32_t across, int small_nodes,
                                bool backwards, Image<std::uint8_t> lesion) {
    HostBlock<kThreads> block = {backwards};
    const int rows = int(log_odds.rows), cols = int(log_odds.cols), stride = words_of(cols);
    const auto pixels = std::size_t(rows) * std::size_t(cols);
    std::vector<Word> bits(std::size_t(rows) * std::size_t(stride));
    for (int y = 0; y < rows; ++y)
        for (int x = 0; x < cols; ++x)
            if (seeds.row(y)[x] != 0)
                bits[std::size_t(y * stride + x / kWordBits)] |= Word(1) << (x % kWordBits);
    std::vector<Word> states = memory_of(2 * pixels), numbers = memory_of(4 * pixels),
                      small = memory_of(CutGraph::bytes(small_nodes)),
                      large = memory_of(CutGraph::bytes(int(pixels)));
    std::vector<std::int32_t> first_of_thread(kThreads + 1, -1);
    auto* const state = reinterpret_cast<std::uint8_t*>(states.data());
    const CutPlanes planes = {log_odds.data, state, state + pixels,
                              reinterpret_cast<std::int32_t*>(numbers.data())};
    BorderCutBlock<HostBlock<kThreads>> cut(
        block, rows, cols, planes, {bits.data(), rows, cols, stride, false}, 0, side, across);
    const int searched = cut.run(small.data(), small_nodes, large.data(), first_of_thread.data());
    for (std::size_t i = 0; i < pixels; ++i) lesion.data[i] = cut.state()[i] == kLesion;
    return searched;
}

}  // namespace dsnet
