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
        std::vector<Word> frame = memory_of(sizeof(FrameScratch));
        cut_image(block, batch, index, memory.data(),
                  *reinterpret_cast<FrameScratch*>(frame.data()));
    }
}

EdgeOutcome evidence_on_host(Image<const float> image, const CutPlan& plan,
                             const EdgeNetwork& network, bool backwards, float* log_odds) {
    HostBlock<kThreads> block = {backwards};
    std::vector<Word> frame = memory_of(sizeof(FrameScratch));
    edge_device::Evidence<HostBlock<kThreads>> evidence(
        block, plan.edge, network, {image.data, int(image.rows), int(image.cols)},
        *reinterpret_cast<FrameScratch*>(frame.data()));
    return evidence.run(plan.top, plan.left, log_odds);
}

}  // namespace dsnet
