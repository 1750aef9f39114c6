// Unsmoothed aggregation for the matting Laplacian. An aggregate of 2 x 2 pixels (then of 2 x 2
// nodes) holds two unknowns, for the orthonormal vectors made of 1 and of the grey value I less
// its mean: what matting all but ignores is alpha = a I + b with a and b that vary slowly. The
// fine operator reaches two pixels, so the coarse ones reach one node, on every level.
#include <cmath>
#include <utility>

#include "matting/nodes_simd.h"

namespace dsnet::DSNET_UNIT {
namespace {

// A spread of grey values below this share of the count is rounding.
constexpr float kDust = 1e-13f;
// Factor to the smoother, safe below 2: it divides by the sums of absolute values of the rows.
constexpr float kCoarseRelaxation = 1.5f;

DSNET_INLINE float inverse_root(float squares, float least) {
    return squares > least ? 1.0f / std::sqrt(squares) : 0.0f;
}

// Parts of an aggregate along one axis: its first pixel, both, its second.
enum Part { kFirst, kBoth, kSecond };

void gather_pixels(const FineGrid& fine, const CoarseGrid& coarse, float* const* moments) {
    const Index s = fine.stride;
    const float* grey = fine.grey;
    const float* counted = fine.count;
    each_node(coarse, s, [&](Index node, Index i) {
        const Index at[4] = {i, i + 1, i + s, i + s + 1};
        float n[4], one[4], two[4];
        for (int k = 0; k < 4; ++k) n[k] = counted[at[k]] > 0 ? 1.0f : 0.0f;
        const float count = n[0] + n[1] + n[2] + n[3];
        const float sum =
            n[0] * grey[at[0]] + n[1] * grey[at[1]] + n[2] * grey[at[2]] + n[3] * grey[at[3]];
        const float mean = count > 0 ? sum / count : 0.0f;
        for (int k = 0; k < 4; ++k) {
            one[k] = n[k] > 0 ? grey[at[k]] - mean : 0.0f;
            two[k] = one[k] * one[k];
        }
        const float spread = two[0] + two[1] + two[2] + two[3];
        coarse.count[node] = count;
        coarse.grey[node] = mean;
        coarse.spread[node] = spread;
        coarse.scale[0][node] = inverse_root(count, 0.0f);
        coarse.scale[1][node] = inverse_root(spread, kDust * count);
        const float* values[3] = {n, one, two};
        for (int kind = 0; kind < 3; ++kind) {
            const float* v = values[kind];
            float* const* out = moments + kind * 9;
            out[3 * kFirst + kFirst][node] = v[0];
            out[3 * kFirst + kBoth][node] = v[0] + v[1];
            out[3 * kFirst + kSecond][node] = v[1];
            out[3 * kBoth + kFirst][node] = v[0] + v[2];
            out[3 * kBoth + kBoth][node] = (v[0] + v[1]) + (v[2] + v[3]);
            out[3 * kBoth + kSecond][node] = v[1] + v[3];
            out[3 * kSecond + kFirst][node] = v[2];
            out[3 * kSecond + kBoth][node] = v[2] + v[3];
            out[3 * kSecond + kSecond][node] = v[3];
        }
    });
}

typedef Lanes<float> Lane;

struct VectorBlock {
    FloatVector a00{}, a01{}, a10{}, a11{};
};

// Calls body(node) for the first of every vector of nodes.
template <typename Body>
DSNET_INLINE void each_block(const CoarseGrid& coarse, Body body) {
    for (const Run* run = coarse.nodes.first; run != coarse.nodes.first + coarse.nodes.count; ++run)
        for (Index x = run->begin; x < run->end; x += Lane::kCount)
            body(run->row * coarse.stride + x);
}

// What the window centred `Dy`, `Dx` from an aggregate's first pixel adds to the block of that
// aggregate with the one `Oy`, `Ox` from it: -1/9 c c^T - gain d d^T, with c and d the sums over
// the aggregate's pixels in the window of the two vectors, and of these times I - mean.
template <int Oy, int Ox>
struct WindowTerm {
    float* const* moments;
    float* const* parity;

    static constexpr int part(int centre) {
        return centre < 0 ? kFirst : centre < 2 ? kBoth : kSecond;
    }

    template <int Dy, int Dx>
    DSNET_INLINE void add(const CoarseGrid& coarse, Index node, VectorBlock& sum) const {
        constexpr int mine = 3 * part(Dy) + part(Dx);
        constexpr int others = 3 * part(Dy - 2 * Oy) + part(Dx - 2 * Ox);
        constexpr int kind = 2 * (Dy & 1) + (Dx & 1);
        constexpr Index down = Dy < 0 ? -1 : Dy / 2, right = Dx < 0 ? -1 : Dx / 2;
        const Index window = node + down * coarse.stride + right;
        const Index other = node + Oy * coarse.stride + Ox;
        const FloatVector mean = Lane::at(parity[kind] + window),
                          rest = Lane::at(parity[4 + kind] + window);
        const FloatVector gain = Lane::at(parity[8 + kind] + window);
        const FloatVector ninth = gain > 0 ? Lane::all(1.0f / 9.0f) : FloatVector{};
        const FloatVector n = Lane::at(moments[mine] + node),
                          one = Lane::at(moments[9 + mine] + node),
                          two = Lane::at(moments[18 + mine] + node);
        const FloatVector m = Lane::at(moments[others] + other),
                          other_one = Lane::at(moments[9 + others] + other),
                          other_two = Lane::at(moments[18 + others] + other);
        const FloatVector shift = (Lane::at(coarse.grey + node) - mean) - rest;
        const FloatVector other_shift = (Lane::at(coarse.grey + other) - mean) - rest;
        const FloatVector d0 = gain * (one + shift * n), d1 = gain * (two + shift * one);
        const FloatVector e0 = other_one + other_shift * m,
                          e1 = other_two + other_shift * other_one;
        const FloatVector c0 = ninth * n, c1 = ninth * one;
        sum.a00 -= c0 * m + d0 * e0;
        sum.a01 -= c0 * other_one + d0 * e1;
        sum.a10 -= c1 * m + d1 * e0;
        sum.a11 -= c1 * other_one + d1 * e1;
    }

    // Centres from `FromY`, `FromX` on, in rows of `Cols`.
    template <int FromY, int FromX, int Cols, int... Each>
    DSNET_INLINE void add_all(const CoarseGrid& coarse, Index node, VectorBlock& sum,
                              std::integer_sequence<int, Each...>) const {
        (add<FromY + Each / Cols, FromX + Each % Cols>(coarse, node, sum), ...);
    }
};

// The block with the neighbour at `Oy`, `Ox`, written to the four planes from `planes` on.
template <int Oy, int Ox, int FromY, int FromX, int Rows, int Cols>
DSNET_INLINE void assemble_neighbour(const CoarseGrid& coarse, float* const* moments,
                                     float* const* parity, float* const* planes) {
    const float* one = coarse.scale[0];
    const float* two = coarse.scale[1];
    const WindowTerm<Oy, Ox> term = {moments, parity};
    each_block(coarse, [&](Index node) {
        const Index other = node + Oy * coarse.stride + Ox;
        VectorBlock sum;
        term.template add_all<FromY, FromX, Cols>(coarse, node, sum,
                                                  std::make_integer_sequence<int, Rows * Cols>{});
        store(planes[0] + node, Lane::at(one + node) * Lane::at(one + other) * sum.a00);
        store(planes[1] + node, Lane::at(one + node) * Lane::at(two + other) * sum.a01);
        store(planes[2] + node, Lane::at(two + node) * Lane::at(one + other) * sum.a10);
        store(planes[3] + node, Lane::at(two + node) * Lane::at(two + other) * sum.a11);
    });
}

void split_by_parity(const FineGrid& fine, const CoarseGrid& coarse, const Runs& around,
                     float* const* parity) {
    const float* planes[3] = {fine.mean32, fine.mean_rest, fine.gain32};
    for (const Run* run = around.first; run != around.first + around.count; ++run) {
        for (int plane = 0; plane < 3; ++plane) {
            for (int row = 0; row < 2; ++row) {
                const float* from = planes[plane] + (2 * run->row + row) * fine.stride;
                float* even = parity[4 * plane + 2 * row] + run->row * coarse.stride;
                float* odd = parity[4 * plane + 2 * row + 1] + run->row * coarse.stride;
                each_lane(run->begin, run->end, [&](Index x, Index) {
                    even[x] = from[2 * x];
                    odd[x] = from[2 * x + 1];
                });
            }
        }
    }
}

void assemble_pixels(const FineGrid& fine, const CoarseGrid& coarse, const Runs& around,
                     float* const* moments, float* const* parity) {
    const Index s = fine.stride;
    split_by_parity(fine, coarse, around, parity);
    const WindowTerm<0, 0> term = {moments, parity};
    float* const* own = coarse.stencil;
    each_node(coarse, s, [&](Index node, Index i) {
        const Index at[4] = {i, i + 1, i + s, i + s + 1};
        float none = 0, once = 0, twice = 0;
        for (int k = 0; k < 4; ++k) {
            const float windows = fine.count[at[k]];
            const float weight = windows > 0 ? windows + float(fine.weight) : 0.0f;
            const float grey = fine.grey[at[k]] - coarse.grey[node];
            none += weight;
            once += weight * grey;
            twice += weight * grey * grey;
        }
        own[0][node] = none;
        own[1][node] = once;
        own[2][node] = twice;
    });
    each_block(coarse, [&](Index node) {
        VectorBlock sum = {Lane::at(own[0] + node), Lane::at(own[1] + node), FloatVector{},
                           Lane::at(own[2] + node)};
        term.add_all<-1, -1, 4>(coarse, node, sum, std::make_integer_sequence<int, 16>{});
        const FloatVector one = Lane::at(coarse.scale[0] + node),
                          two = Lane::at(coarse.scale[1] + node);
        store(own[0] + node, one * one * sum.a00);
        store(own[1] + node, one * two * sum.a01);
        store(own[2] + node, two > 0 ? two * two * sum.a11 : Lane::all(1.0f));
    });
    assemble_neighbour<0, 1, -1, 1, 4, 2>(coarse, moments, parity, coarse.stencil + 3);
    assemble_neighbour<1, 0, 1, -1, 2, 4>(coarse, moments, parity, coarse.stencil + 7);
    assemble_neighbour<1, 1, 1, 1, 2, 2>(coarse, moments, parity, coarse.stencil + 11);
    assemble_neighbour<1, -1, 1, -1, 2, 2>(coarse, moments, parity, coarse.stencil + 15);
}

void gather_nodes(const CoarseGrid& fine, const CoarseGrid& coarse) {
    const Index s = fine.stride;
    each_node(coarse, s, [&](Index node, Index i) {
        const Index at[4] = {i, i + 1, i + s, i + s + 1};
        float n[4], grey[4];
        for (int k = 0; k < 4; ++k) n[k] = fine.count[at[k]];
        for (int k = 0; k < 4; ++k) grey[k] = fine.grey[at[k]];
        const float count = n[0] + n[1] + n[2] + n[3];
        const float sum = n[0] * grey[0] + n[1] * grey[1] + n[2] * grey[2] + n[3] * grey[3];
        const float mean = count > 0 ? sum / count : 0.0f;
        float spread = 0.0f;
        for (int k = 0; k < 4; ++k) {
            grey[k] = n[k] > 0 ? grey[k] - mean : 0.0f;
            spread += fine.spread[at[k]] + n[k] * grey[k] * grey[k];
        }
        const float one = inverse_root(count, 0.0f), two = inverse_root(spread, kDust * count);
        coarse.count[node] = count;
        coarse.grey[node] = mean;
        coarse.spread[node] = spread;
        coarse.scale[0][node] = one;
        coarse.scale[1][node] = two;
        for (int k = 0; k < 4; ++k) {
            const float root = std::sqrt(n[k]);
            // A spread taken for rounding below has no unknown to reach.
            const float below = fine.scale[1][at[k]] > 0 ? std::sqrt(fine.spread[at[k]]) : 0.0f;
            fine.up[0][at[k]] = root * one;
            fine.up[1][at[k]] = grey[k] * root * two;
            fine.up[2][at[k]] = below * two;
        }
    });
}

// sum += Q_i^T A Q_j, Q the 2 x 2 upper triangular matrices `up` of two nodes below.
DSNET_INLINE void add_product(const CoarseGrid& fine, Index i, Index j, const Block& a,
                              Block& sum) {
    const float p0 = fine.up[0][i], p1 = fine.up[1][i], p2 = fine.up[2][i];
    const float q0 = fine.up[0][j], q1 = fine.up[1][j], q2 = fine.up[2][j];
    const float t00 = a.a00 * q0, t01 = a.a00 * q1 + a.a01 * q2;
    const float t10 = a.a10 * q0, t11 = a.a10 * q1 + a.a11 * q2;
    sum.a00 += p0 * t00;
    sum.a01 += p0 * t01;
    sum.a10 += p1 * t00 + p2 * t10;
    sum.a11 += p1 * t01 + p2 * t11;
}

DSNET_INLINE Block transposed(const Block& a) { return {a.a00, a.a10, a.a01, a.a11}; }

// Twice the symmetric part: a pair's block and its transpose.
DSNET_INLINE void add_pair(const CoarseGrid& fine, Index i, Index j, int plane, Block& sum) {
    Block pair;
    add_product(fine, i, j, block_at(fine, plane, i), pair);
    sum.a00 += 2 * pair.a00;
    sum.a01 += pair.a01 + pair.a10;
    sum.a11 += 2 * pair.a11;
}

DSNET_INLINE void write(const CoarseGrid& grid, int plane, Index i, const Block& a) {
    float* const* out = grid.stencil + plane;
    out[0][i] = a.a00;
    out[1][i] = a.a01;
    out[2][i] = a.a10;
    out[3][i] = a.a11;
}

constexpr int kRight = 3, kDown = 7, kDownRight = 11, kDownLeft = 15;

void assemble_nodes(const CoarseGrid& fine, const CoarseGrid& coarse) {
    const Index s = fine.stride;
    each_node(coarse, s, [&](Index node, Index i) {
        const Index at[4] = {i, i + 1, i + s, i + s + 1};
        Block sum;
        for (int k = 0; k < 4; ++k) {
            const Block own = {fine.stencil[0][at[k]], fine.stencil[1][at[k]],
                               fine.stencil[1][at[k]], fine.stencil[2][at[k]]};
            add_product(fine, at[k], at[k], own, sum);
        }
        add_pair(fine, at[0], at[1], kRight, sum);
        add_pair(fine, at[2], at[3], kRight, sum);
        add_pair(fine, at[0], at[2], kDown, sum);
        add_pair(fine, at[1], at[3], kDown, sum);
        add_pair(fine, at[0], at[3], kDownRight, sum);
        add_pair(fine, at[1], at[2], kDownLeft, sum);
        coarse.stencil[0][node] = sum.a00;
        coarse.stencil[1][node] = sum.a01;
        coarse.stencil[2][node] = coarse.scale[1][node] > 0 ? sum.a11 : 1.0f;
    });
    each_node(coarse, s, [&](Index node, Index i) {
        Block sum;
        add_product(fine, i + 1, i + 2, block_at(fine, kRight, i + 1), sum);
        add_product(fine, i + s + 1, i + s + 2, block_at(fine, kRight, i + s + 1), sum);
        add_product(fine, i + 1, i + s + 2, block_at(fine, kDownRight, i + 1), sum);
        add_product(fine, i + s + 1, i + 2, transposed(block_at(fine, kDownLeft, i + 2)), sum);
        write(coarse, kRight, node, sum);
    });
    each_node(coarse, s, [&](Index node, Index i) {
        const Index row = i + s, below = row + s;
        Block sum, right, left;
        add_product(fine, row, below, block_at(fine, kDown, row), sum);
        add_product(fine, row + 1, below + 1, block_at(fine, kDown, row + 1), sum);
        add_product(fine, row, below + 1, block_at(fine, kDownRight, row), sum);
        add_product(fine, row + 1, below, block_at(fine, kDownLeft, row + 1), sum);
        write(coarse, kDown, node, sum);
        add_product(fine, row + 1, below + 2, block_at(fine, kDownRight, row + 1), right);
        write(coarse, kDownRight, node, right);
        add_product(fine, row, below - 1, block_at(fine, kDownLeft, row), left);
        write(coarse, kDownLeft, node, left);
    });
}

DSNET_INLINE float size(float value) { return value < 0 ? -value : value; }

void weigh_smoother(const CoarseGrid& grid) {
    const Index steps[4] = {1, grid.stride, grid.stride + 1, grid.stride - 1};
    each_lane(grid.nodes, grid.stride, [&](Index i, Index) {
        float one = size(grid.stencil[0][i]) + size(grid.stencil[1][i]);
        float two = size(grid.stencil[1][i]) + size(grid.stencil[2][i]);
        for (int k = 0; k < 4; ++k) {
            const Block out = block_at(grid, 3 + 4 * k, i);
            const Block in = block_at(grid, 3 + 4 * k, i - steps[k]);
            one += size(out.a00) + size(out.a01) + size(in.a00) + size(in.a10);
            two += size(out.a10) + size(out.a11) + size(in.a01) + size(in.a11);
        }
        grid.relax[0][i] = one > 0 ? kCoarseRelaxation / one : 0.0f;
        grid.relax[1][i] = two > 0 ? kCoarseRelaxation / two : 0.0f;
    });
}

}  // namespace

extern const CoarseningSimd coarsening_simd;
const CoarseningSimd coarsening_simd = {&gather_pixels, &gather_nodes, &assemble_pixels,
                                        &assemble_nodes, &weigh_smoother};

}  // namespace dsnet::DSNET_UNIT
