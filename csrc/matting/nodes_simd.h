// What the loops over the coarse levels share, for vector sources.
#pragma once

#include "matting/simd.h"

namespace dsnet::DSNET_UNIT {

using Index = std::ptrdiff_t;

// Calls body(node, first pixel or node below) for all nodes.
template <typename Body>
DSNET_INLINE void each_node(const CoarseGrid& coarse, Index fine_stride, Body body) {
    for (const Run* run = coarse.nodes.first; run != coarse.nodes.first + coarse.nodes.count;
         ++run) {
        const Index row = run->row * coarse.stride, below = 2 * run->row * fine_stride;
        each_lane(run->begin, run->end, [&](Index x, Index) { body(row + x, below + 2 * x); });
    }
}

struct Block {
    float a00 = 0, a01 = 0, a10 = 0, a11 = 0;
};

DSNET_INLINE Block block_at(const CoarseGrid& grid, int plane, Index i) {
    float* const* a = grid.stencil + plane;
    return {a[0][i], a[1][i], a[2][i], a[3][i]};
}

}  // namespace dsnet::DSNET_UNIT
