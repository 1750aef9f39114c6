#include "edge_kernels.h"

#include "lanes.h"

namespace dsnet::DSNET_UNIT {
namespace {

using Index = std::ptrdiff_t;
// One lane a pixel; the compiler splits it where the vector unit is narrower.
typedef float Vector __attribute__((vector_size(sizeof(float) * kLanes)));
typedef float Unaligned __attribute__((vector_size(sizeof(float) * kLanes), aligned(4), may_alias));

DSNET_INLINE Vector load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
DSNET_INLINE void store(float* to, Vector v) { *reinterpret_cast<Unaligned*>(to) = v; }
DSNET_INLINE Vector all(float value) { return Vector{} + value; }
DSNET_INLINE Vector least(Vector a, Vector b) { return a < b ? a : b; }
DSNET_INLINE Vector most(Vector a, Vector b) { return a > b ? a : b; }
DSNET_INLINE Vector within(Vector v, float low, float high) {
    return least(most(v, all(low)), all(high));
}
DSNET_INLINE Vector size(Vector v) { return most(v, -v); }
DSNET_INLINE Vector root(Vector v) {
    Vector out;
    for (int lane = 0; lane < kLanes; ++lane) out[lane] = __builtin_sqrtf(v[lane]);
    return out;
}
DSNET_INLINE Vector counting() {
    Vector out;
    for (int lane = 0; lane < kLanes; ++lane) out[lane] = float(lane);
    return out;
}

// A pixel's place along the two axes, from the curve's origin.
struct Place {
    Vector u, v, radius, half_u, half_v;
};

DSNET_INLINE Place place(const EdgeGrid& grid, Index y, Index x) {
    const Vector dx = counting() + (float(x) - grid.x);
    const float dy = float(y) - grid.y;
    Place at;
    at.u = dx * grid.along_x + dy * grid.along_y;
    at.v = dy * grid.along_x - dx * grid.along_y;
    at.radius = root(at.u * at.u + at.v * at.v);
    at.half_u = at.u >= 0 ? all(grid.half_u[1]) : all(grid.half_u[0]);
    at.half_v = at.v >= 0 ? all(grid.half_v[1]) : all(grid.half_v[0]);
    return at;
}

DSNET_INLINE Vector share_of(Vector u, Vector v, Vector half_u, Vector half_v) {
    const Vector a = u / half_u, b = v / half_v;
    return most(root(a * a + b * b), all(1e-3f));
}

DSNET_INLINE Vector outside_of(Vector radius, Vector share, float half_short) {
    return most(radius * (1.0f - 1.0f / share), all(-half_short));
}

void measure(const EdgeGrid& grid) {
    for (Index y = 0; y < grid.rows; ++y) {
        for (Index x = 0; x < grid.cols; x += kLanes) {
            const Place at = place(grid, y, x);
            const Vector share = share_of(at.u, at.v, at.half_u, at.half_v);
            store(grid.share + y * grid.stride + x, share);
            store(grid.outside + y * grid.stride + x,
                  outside_of(at.radius, share, grid.half_short));
        }
    }
}

// Continues a row of a plane to either side by its last values.
DSNET_INLINE void continue_row(float* row, Index cols) {
    const float left = row[0], right = row[cols - 1];
    for (Index k = 1; k <= kLanes; ++k) row[-k] = left;
    for (Index k = 0; k < 2 * kLanes - 1; ++k) row[cols + k] = right;
}

DSNET_INLINE void continue_rows(const EdgeGrid& grid, float* plane) {
    for (Index y = 0; y < grid.rows; ++y) continue_row(plane + y * grid.stride, grid.cols);
    const Index last = (grid.rows - 1) * grid.stride;
    for (Index x = -kLanes; x < grid.cols + kLanes; ++x) {
        plane[x - grid.stride] = plane[x];
        plane[last + grid.stride + x] = plane[last + x];
    }
}

void normalise(const EdgeGrid& grid, float surroundings, float scale) {
    for (Index y = 0; y < grid.rows; ++y) {
        const Index row = y * grid.stride;
        for (Index x = row; x < row + grid.cols; x += kLanes)
            store(grid.relative + x,
                  within((load(grid.grey + x) - surroundings) / scale, -1.0f, 2.5f));
    }
    continue_rows(grid, grid.relative);
}

void smooth(const EdgeGrid& grid, const float* taps, int radius, float* out) {
    const Index last = grid.rows - 1;
    for (Index y = 0; y < grid.rows; ++y) {
        const float* upper[kLargestRadius + 1];
        const float* lower[kLargestRadius + 1];
        for (Index k = 0; k <= radius; ++k) {
            upper[k] = grid.relative + (y > k ? y - k : 0) * grid.stride;
            lower[k] = grid.relative + (y + k < last ? y + k : last) * grid.stride;
        }
        for (Index x = 0; x < grid.cols; x += kLanes) {
            Vector sum = load(upper[0] + x) * taps[0];
            for (int k = 1; k <= radius; ++k)
                sum += (load(upper[k] + x) + load(lower[k] + x)) * taps[k];
            store(grid.scratch + x, sum);
        }
        continue_row(grid.scratch, grid.cols);
        for (Index x = 0; x < grid.cols; x += kLanes) {
            Vector sum = load(grid.scratch + x) * taps[0];
            for (int k = 1; k <= radius; ++k)
                sum += (load(grid.scratch + x - k) + load(grid.scratch + x + k)) * taps[k];
            store(out + y * grid.stride + x, sum);
        }
    }
    continue_rows(grid, out);
}

// out = W in + b, four neurons at a time; with rectification.
template <int Inputs, int Stride, int Outputs>
DSNET_INLINE void layer(const float (*weight)[Stride], const float* bias, const Vector* in,
                        Vector* out) {
    static_assert(Outputs % 4 == 0, "neurons go four at a time");
    for (int m = 0; m < Outputs; m += 4) {
        Vector a = all(bias[m]), b = all(bias[m + 1]), c = all(bias[m + 2]), d = all(bias[m + 3]);
        for (int k = 0; k < Inputs; ++k) {
            a += in[k] * weight[m][k];
            b += in[k] * weight[m + 1][k];
            c += in[k] * weight[m + 2][k];
            d += in[k] * weight[m + 3][k];
        }
        out[m] = most(a, Vector{});
        out[m + 1] = most(b, Vector{});
        out[m + 2] = most(c, Vector{});
        out[m + 3] = most(d, Vector{});
    }
}

void weigh(const EdgeGrid& grid, const EdgeNetwork& network, float certain, float* log_odds,
           std::ptrdiff_t log_odds_stride) {
    const Index s = grid.stride;
    const float half_short = grid.half_short;
    for (Index y = 0; y < grid.rows; ++y) {
        const float by_row = y == 0 || y == grid.rows - 1 ? 1.0f : 0.5f;
        for (Index x = 0; x < grid.cols; x += kLanes) {
            const Index i = y * s + x;
            Vector result = all(-certain);
            const Vector outside = load(grid.outside + i);
            bool any = false;
            for (int lane = 0; lane < kLanes; ++lane) any |= outside[lane] <= grid.reach;
            if (any) {
                const Place at = place(grid, y, x);
                const Vector centre_u = at.u + grid.centre_u, centre_v = at.v + grid.centre_v;
                const Vector share = share_of(centre_u, centre_v, all(grid.half_long),
                                              all(half_short));
                const Vector off_ellipse = outside_of(
                    root(centre_u * centre_u + centre_v * centre_v), share, half_short);
                const float* g = grid.relative + i;
                const float* f = grid.smooth[0] + i;
                Vector high = load(g), low = high;
                for (Index dy = -s; dy <= s; dy += s) {
                    for (Index dx = -1; dx <= 1; ++dx) {
                        const Vector value = load(g + dy + dx);
                        high = most(high, value);
                        low = least(low, value);
                    }
                }
                const Vector here = load(f), above = load(f - s), below = load(f + s);
                const Vector left = load(f - 1), right = load(f + 1);
                Vector by_column = all(0.5f);
                if (x == 0) by_column[0] = 1.0f;
                if (x + kLanes >= grid.cols) by_column[grid.cols - 1 - x] = 1.0f;
                const Vector slope_y = (below - above) * by_row;
                const Vector slope_x = (right - left) * by_column;
                const Vector out_x = at.u * grid.along_x - at.v * grid.along_y;
                const Vector out_y = at.u * grid.along_y + at.v * grid.along_x;
                const Vector features[kVaryingFeatures] = {
                    within(outside, -5.0f, 5.0f),
                    within(outside / half_short, -1.0f, 1.5f),
                    within(off_ellipse, -5.0f, 5.0f),
                    within(off_ellipse / half_short, -1.0f, 1.5f),
                    load(g),
                    here,
                    load(grid.smooth[1] + i),
                    load(grid.smooth[2] + i),
                    (slope_x * out_x + slope_y * out_y) / most(at.radius, all(1e-6f)),
                    root(slope_x * slope_x + slope_y * slope_y),
                    high,
                    low,
                    ((above + below) - 2.0f * here) + ((left + right) - 2.0f * here),
                    least(size(at.u) / at.half_u, all(2.0f)),
                    least(size(at.v) / at.half_v, all(2.0f)),
                };
                Vector first[kHidden], second[kHidden];
                layer<kVaryingFeatures, kFeatures, kHidden>(network.weight1, network.bias1,
                                                            features, first);
                layer<kHidden, kHidden, kHidden>(network.weight2, network.bias2, first, second);
                Vector odds = all(network.bias3);
                for (int k = 0; k < kHidden; ++k) odds += second[k] * network.weight3[k];
                result = outside <= grid.reach ? within(odds, -certain, certain) : result;
            }
            float* to = log_odds + y * log_odds_stride + x;
            const Index left_over = grid.cols - x;
            for (Index lane = 0; lane < kLanes && lane < left_over; ++lane) to[lane] = result[lane];
        }
    }
}

}  // namespace

extern const EdgeKernels edge_kernels;
const EdgeKernels edge_kernels = {&measure, &normalise, &smooth, &weigh};

}  // namespace dsnet::DSNET_UNIT
