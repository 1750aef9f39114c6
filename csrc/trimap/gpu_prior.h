// A block of threads writes the prior of a mask: `mask_prior` of trimap.h.
#pragma once

#include <cstdint>

#include "base/gpu_block.h"
#include "trimap/numbers.h"
#include "trimap/prior.h"

namespace dsnet::morphology_device {

// Pixels in device memory, non-zero is lesion.
struct MaskPixels {
    const std::uint8_t* pixels;
    std::int32_t rows, cols;
    double row_spacing, column_spacing;
};

// Distance to the nearest pixel on the other side of the mask's edge, as `step_length` has it.
DSNET_HOST_DEVICE double edge_distance(const MaskPixels& mask, int y, int x) {
    const std::int64_t at = y * std::int64_t(mask.cols) + x;
    const bool inside = mask.pixels[at] != 0;
    double nearest = kEdgeReach;
    for (int down = -kEdgeReach; down <= kEdgeReach; ++down)
        for (int right = -kEdgeReach; right <= kEdgeReach; ++right) {
            if (y + down < 0 || y + down >= mask.rows || x + right < 0 || x + right >= mask.cols)
                continue;
            const std::int64_t there = at + down * std::int64_t(mask.cols) + right;
            if ((mask.pixels[there] != 0) == inside) continue;
            const double length = step_length(down, right, mask.row_spacing, mask.column_spacing);
            nearest = length < nearest ? length : nearest;
        }
    return nearest;
}

// Its trimap is done, for all threads to see.
template <class Block>
DSNET_DEVICE void write_mask_prior(Block& block, const MaskPixels& mask, const std::uint8_t* trimap,
                                   float* priors) {
    const std::int64_t size = mask.rows * std::int64_t(mask.cols);
    block.each([&](int t) {
        for (std::int64_t i = t; i < size; i += Block::kThreads) {
            float prior = trimap[i] == kForeground ? 1.0f : 0.0f;
            if (trimap[i] == kUnknown) {
                const int y = int(i / mask.cols), x = int(i - std::int64_t(y) * mask.cols);
                prior = edge_prior(mask.pixels[i] != 0, edge_distance(mask, y, x));
            }
            priors[i] = prior;
        }
    });
    block.sync();
}

}  // namespace dsnet::morphology_device
