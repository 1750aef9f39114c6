#include "masks.h"

#include <vector>

#include "host_block.h"
#include "masks/gpu_block.h"
#include "trimap/gpu_of_mask.h"
#include "trimap/gpu_of_raters.h"
#include "trimap/numbers.h"

namespace dsnet {
namespace {

using namespace morphology_device;

// What no thread wrote is anything, as in a GPU's memory.
std::vector<Word> memory_of(std::size_t bytes) {
    return std::vector<Word>(bytes / sizeof(Word) + 2, 0xa5a5a5a5a5a5a5a5u);
}

void split_by_bands(const cuda::MorphologyBatch& batch, std::int64_t index, Operation operation,
                    const Levels& levels, HostBlock<kThreads>& block) {
    std::vector<Word> bits = memory_of(BitImage::bytes(batch.rows, batch.cols));
    const int step = band_rows(batch.rows, batch.cols);
    for (int first = 0; first < batch.rows; first += step)
        load_band(block, batch, index, operation, bits.data(), first,
                  lesser(first + step, batch.rows));
    for (int first = 0; first < batch.rows; first += step) {
        const int last = lesser(first + step, batch.rows);
        std::vector<Word> planes =
            memory_of(2 * sizeof(Word) * std::size_t(step) * std::size_t(words_of(batch.cols)));
        split_band(block, batch, index, operation, levels, bits.data(), planes.data(), first, last);
    }
}

}  // namespace

void morphology_on_host(const cuda::MorphologyBatch& batch, BlockWork work, bool large,
                        bool backwards) {
    HostBlock<kThreads> block = {backwards};
    const Operation operation = work == BlockWork::kErode    ? Operation::kErode
                                : work == BlockWork::kDilate ? Operation::kDilate
                                                             : Operation::kSplit;
    const Levels levels = operation == Operation::kErode    ? Levels{1, 0}
                          : operation == Operation::kDilate ? Levels{0, 1}
                                                            : Levels{kForeground, kUnknown};
    for (std::int64_t index = 0; index < batch.count; ++index) {
        if (work == BlockWork::kTrimap) {
            std::vector<Word> memory = memory_of(trimap_bytes(batch.rows, batch.cols));
            trimap_image(block, batch, index, memory.data());
        } else if (large) {
            split_by_bands(batch, index, operation, levels, block);
        } else {
            std::vector<Word> memory = memory_of(split_bytes(batch.rows, batch.cols));
            split_image(block, batch, index, operation, levels, memory.data());
        }
    }
}

void raters_on_host(const cuda::RatersBatch& batch, bool backwards) {
    HostBlock<raters_device::kThreads> block = {backwards};
    std::vector<Word> held =
        memory_of(raters_device::RatersMemory::bytes(batch.count, batch.rows, batch.cols));
    const raters_device::RatersMemory memory(held.data(), batch.count, batch.rows, batch.cols);
    for (std::int64_t index = 0; index < batch.count; ++index)
        raters_device::count_votes(block, batch, memory, index);
    for (const bool inner : {true, false})
        morphology_on_host(raters_device::strategy_one(batch, memory, inner), BlockWork::kTrimap,
                           false, backwards);
    for (std::int64_t index = 0; index < batch.count; ++index)
        raters_device::join_trimaps(block, batch, memory, index);
}

}  // namespace dsnet
