// One cycle's work on the coarse levels of the matting Laplacian; coarsening_simd.cpp says what
// they are.
#include "matting/nodes_simd.h"

namespace dsnet::DSNET_UNIT {
namespace {

void restrict_pixels(const FineGrid& fine, const float* rest, const CoarseGrid& coarse) {
    const Index s = fine.stride;
    each_node(coarse, s, [&](Index node, Index i) {
        const float mean = coarse.grey[node];
        const float a = rest[i], b = rest[i + 1], c = rest[i + s], d = rest[i + s + 1];
        const float moment = (fine.grey[i] - mean) * a + (fine.grey[i + 1] - mean) * b +
                             (fine.grey[i + s] - mean) * c + (fine.grey[i + s + 1] - mean) * d;
        coarse.rhs[0][node] = coarse.scale[0][node] * ((a + b) + (c + d));
        coarse.rhs[1][node] = coarse.scale[1][node] * moment;
    });
}

void prolong_pixels(const FineGrid& fine, const CoarseGrid& coarse, float factor, float* z) {
    const Index s = fine.stride;
    each_node(coarse, s, [&](Index node, Index i) {
        const float mean = coarse.grey[node];
        const float one = factor * coarse.scale[0][node] * coarse.x[0][node];
        const float two = factor * coarse.scale[1][node] * coarse.x[1][node];
        const Index at[4] = {i, i + 1, i + s, i + s + 1};
        for (int k = 0; k < 4; ++k) {
            const float value = one + (fine.grey[at[k]] - mean) * two;
            z[at[k]] = z[at[k]] + (fine.count[at[k]] > 0 ? value : 0.0f);
        }
    });
}

void restrict_nodes(const CoarseGrid& fine, const CoarseGrid& coarse) {
    const Index s = fine.stride;
    each_node(coarse, s, [&](Index node, Index i) {
        const Index at[4] = {i, i + 1, i + s, i + s + 1};
        float one = 0, two = 0;
        for (int k = 0; k < 4; ++k) {
            one += fine.up[0][at[k]] * fine.rest[0][at[k]];
            two +=
                fine.up[1][at[k]] * fine.rest[0][at[k]] + fine.up[2][at[k]] * fine.rest[1][at[k]];
        }
        coarse.rhs[0][node] = one;
        coarse.rhs[1][node] = two;
    });
}

void prolong_nodes(const CoarseGrid& fine, const CoarseGrid& coarse, float factor) {
    const Index s = fine.stride;
    each_node(coarse, s, [&](Index node, Index i) {
        const float one = factor * coarse.x[0][node], two = factor * coarse.x[1][node];
        const Index at[4] = {i, i + 1, i + s, i + s + 1};
        for (int k = 0; k < 4; ++k) {
            fine.x[0][at[k]] += fine.up[0][at[k]] * one + fine.up[1][at[k]] * two;
            fine.x[1][at[k]] += fine.up[2][at[k]] * two;
        }
    });
}

void start(const CoarseGrid& grid) {
    each_lane(grid.nodes, grid.stride, [&](Index i, Index) {
        grid.x[0][i] = grid.relax[0][i] * grid.rhs[0][i];
        grid.x[1][i] = grid.relax[1][i] * grid.rhs[1][i];
    });
}

void residual(const CoarseGrid& grid) {
    const Index steps[4] = {1, grid.stride, grid.stride + 1, grid.stride - 1};
    const float* x = grid.x[0];
    const float* y = grid.x[1];
    each_lane(grid.nodes, grid.stride, [&](Index i, Index) {
        const float mixed = grid.stencil[1][i];
        float one = grid.stencil[0][i] * x[i] + mixed * y[i];
        float two = mixed * x[i] + grid.stencil[2][i] * y[i];
        for (int k = 0; k < 4; ++k) {
            const Index next = i + steps[k], last = i - steps[k];
            const Block out = block_at(grid, 3 + 4 * k, i);
            const Block in = block_at(grid, 3 + 4 * k, last);
            one += (out.a00 * x[next] + out.a01 * y[next]) + (in.a00 * x[last] + in.a10 * y[last]);
            two += (out.a10 * x[next] + out.a11 * y[next]) + (in.a01 * x[last] + in.a11 * y[last]);
        }
        grid.rest[0][i] = grid.rhs[0][i] - one;
        grid.rest[1][i] = grid.rhs[1][i] - two;
    });
}

void correct(const CoarseGrid& grid) {
    each_lane(grid.nodes, grid.stride, [&](Index i, Index) {
        grid.x[0][i] += grid.relax[0][i] * grid.rest[0][i];
        grid.x[1][i] += grid.relax[1][i] * grid.rest[1][i];
    });
}

void add_held(const CoarseGrid& grid) {
    each_lane(grid.nodes, grid.stride, [&](Index i, Index) {
        grid.x[0][i] += grid.held[0][i];
        grid.x[1][i] += grid.held[1][i];
    });
}

}  // namespace

extern const MultigridSimd multigrid_simd;
const MultigridSimd multigrid_simd = {&restrict_pixels, &prolong_pixels, &restrict_nodes,
                                      &prolong_nodes,   &start,          &residual,
                                      &correct,         &add_held};

}  // namespace dsnet::DSNET_UNIT
