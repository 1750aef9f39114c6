// What a block of threads does for strategy 2 on either side of strategy 1, which makes the trimaps
// of what the raters agree about and of what any of them marked.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "base/gpu_block.h"
#include "masks/gpu_block.h"
#include "trimap/gpu.h"
#include "trimap/gpu_prior.h"
#include "trimap/numbers.h"

namespace dsnet::raters_device {

using morphology_device::aligned;
using morphology_device::kThreads;
using morphology_device::write_mask_prior;

// Planes [count, rows, cols] and a number for each image.
struct RatersMemory {
    std::uint8_t *agreed, *marked, *inner, *outer;
    double* radii[4];  // of the inner trimap's erosion and dilation, then of the outer's
    double* spacing;   // [count, 2]
    std::int32_t *speaking, *statuses;
    char* rest;  // for strategy 1

    static std::size_t bytes(std::int64_t count, std::int32_t rows, std::int32_t cols) {
        const std::size_t plane = std::size_t(count) * std::size_t(rows) * std::size_t(cols);
        return 4 * aligned(plane) + 6 * aligned(sizeof(double) * std::size_t(count)) +
               2 * aligned(sizeof(std::int32_t) * std::size_t(count));
    }
    RatersMemory(void* memory, std::int64_t count, std::int32_t rows, std::int32_t cols) {
        char* next = static_cast<char*>(memory);
        const auto take = [&](std::size_t bytes) {
            char* const taken = next;
            next += aligned(bytes);
            return taken;
        };
        const std::size_t plane = std::size_t(count) * std::size_t(rows) * std::size_t(cols);
        for (std::uint8_t** to : {&agreed, &marked, &inner, &outer})
            *to = reinterpret_cast<std::uint8_t*>(take(plane));
        for (double*& to : radii)
            to = reinterpret_cast<double*>(take(sizeof(double) * std::size_t(count)));
        spacing = reinterpret_cast<double*>(take(2 * sizeof(double) * std::size_t(count)));
        for (std::int32_t** to : {&speaking, &statuses})
            *to = reinterpret_cast<std::int32_t*>(take(sizeof(std::int32_t) * std::size_t(count)));
        rest = next;
    }
};

DSNET_HOST_DEVICE int votes_for(const std::uint8_t* masks, int raters, std::int64_t size,
                                std::int64_t i) {
    int votes = 0;
    for (int rater = 0; rater < raters; ++rater) votes += masks[rater * size + i] != 0;
    return votes;
}

// The first step of an image: what most raters marked, what any marked, and the radii of
// strategy 1.
template <class Block>
DSNET_DEVICE void count_votes(Block& block, const cuda::RatersBatch& batch,
                              const RatersMemory& memory, std::int64_t index) {
    const std::int64_t size = batch.rows * std::int64_t(batch.cols);
    const std::uint8_t* const masks = batch.masks + index * batch.raters * size;
    const int most = -block.least([&](int t) {
        int least = 0;
        for (std::int64_t i = t; i < size; i += Block::kThreads) {
            const int votes = votes_for(masks, batch.raters, size, i);
            least = -votes < least ? -votes : least;
        }
        return least;
    });
    int speaking = 0;
    for (int rater = 0; rater < batch.raters; ++rater)
        speaking += block.any([&](int t) {
            for (std::int64_t i = t; i < size; i += Block::kThreads)
                if (masks[rater * size + i] != 0) return true;
            return false;
        });
    block.each([&](int t) {
        for (std::int64_t i = t; i < size; i += Block::kThreads) {
            const int votes = votes_for(masks, batch.raters, size, i);
            memory.agreed[index * size + i] = votes > 0 && votes == most;
            memory.marked[index * size + i] = votes > 0;
        }
        if (t != 0) return;
        // The inner trimap tells the lesion, the outer one the background.
        memory.radii[0][index] = batch.erosion;
        memory.radii[1][index] = 0.0;
        memory.radii[2][index] = 0.0;
        memory.radii[3][index] = batch.dilation;
        memory.spacing[2 * index] = batch.row_spacing;
        memory.spacing[2 * index + 1] = batch.col_spacing;
        memory.speaking[index] = speaking;
    });
    block.sync();
}

inline cuda::MorphologyBatch strategy_one(const cuda::RatersBatch& batch,
                                          const RatersMemory& memory, bool inner) {
    cuda::MorphologyBatch found = {};
    found.masks = inner ? memory.agreed : memory.marked;
    found.erosion = memory.radii[inner ? 0 : 2];
    found.dilation = memory.radii[inner ? 1 : 3];
    found.spacing = memory.spacing;
    found.out = inner ? memory.inner : memory.outer;
    found.statuses = memory.statuses;
    found.count = batch.count;
    found.rows = batch.rows;
    found.cols = batch.cols;
    found.workspace = memory.rest;
    return found;
}

// The last step: the inner trimap's lesion and the outer one's background, all else is unknown; and
// the prior, of votes or of one rater's edge.
template <class Block>
DSNET_DEVICE void join_trimaps(Block& block, const cuda::RatersBatch& batch,
                               const RatersMemory& memory, std::int64_t index) {
    const std::int64_t size = batch.rows * std::int64_t(batch.cols), begin = index * size;
    std::uint8_t* const out = batch.out + begin;
    block.each([&](int t) {
        for (std::int64_t i = t; i < size; i += Block::kThreads)
            out[i] = memory.inner[begin + i] == kForeground   ? kForeground
                     : memory.outer[begin + i] == kBackground ? kBackground
                                                              : kUnknown;
    });
    block.sync();
    if (batch.priors == nullptr) return;
    float* const priors = batch.priors + begin;
    const int speaking = memory.speaking[index];
    if (speaking <= 1) {
        write_mask_prior(
            block,
            {memory.marked + begin, batch.rows, batch.cols, batch.row_spacing, batch.col_spacing},
            out, priors);
        return;
    }
    const std::uint8_t* const masks = batch.masks + batch.raters * begin;
    block.each([&](int t) {
        for (std::int64_t i = t; i < size; i += Block::kThreads)
            priors[i] = votes_prior(votes_for(masks, batch.raters, size, i), speaking);
    });
    block.sync();
}

}  // namespace dsnet::raters_device
