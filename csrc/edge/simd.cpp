#include "edge/simd.h"

#include "base/lanes.h"
// Below it, whose unit it takes.
#include "edge/pixel.h"

namespace dsnet::DSNET_UNIT {
namespace {

using Index = std::ptrdiff_t;

DSNET_INLINE Vector counting() {
    Vector out;
    for (int lane = 0; lane < kLanes; ++lane) out[lane] = float(lane);
    return out;
}

DSNET_INLINE Place<Vector> place(const EdgeGrid& grid, Index y, Index x) {
    return place_of(grid, float(y), counting() + float(x));
}

// Columns from the first pixel of a row within the reach to behind the last one.
DSNET_INLINE void reachable(const EdgeGrid& grid, Index y, Index& begin, Index& end) {
    begin = end = 0;
    const float* outside = grid.outside + y * grid.stride;
    for (Index x = 0; x < grid.cols; x += kLanes) {
        int near = 0;
        for (int lane = 0; lane < kLanes; ++lane) near += outside[x + lane] <= grid.reach;
        if (near == 0) continue;
        if (end == 0) begin = x;
        end = x + kLanes;
    }
    end = end < grid.cols ? end : grid.cols;
    while (begin < end && !(outside[begin] <= grid.reach)) ++begin;
    while (begin < end && !(outside[end - 1] <= grid.reach)) --end;
}

void measure(EdgeGrid& grid) {
    grid.top = grid.left = grid.bottom = grid.right = 0;
    for (Index y = 0; y < grid.rows; ++y) {
        for (Index x = 0; x < grid.cols; x += kLanes) {
            const Place<Vector> at = place(grid, y, x);
            const Vector share = share_of(at.u, at.v, at.half_u, at.half_v);
            store(grid.share + y * grid.stride + x, share);
            store(grid.outside + y * grid.stride + x,
                  outside_of(at.radius, share, grid.half_short));
        }
        Index begin, end;
        reachable(grid, y, begin, end);
        if (begin == end) continue;
        if (grid.bottom == 0) {
            grid.top = y;
            grid.left = begin;
        }
        grid.bottom = y + 1;
        grid.left = begin < grid.left ? begin : grid.left;
        grid.right = end > grid.right ? end : grid.right;
    }
}

// Continues a row of a plane to either side by its last values.
DSNET_INLINE void continue_row(float* row, Index cols) {
    const float left = row[0], right = row[cols - 1];
    for (Index k = 1; k <= kLanes; ++k) row[-k] = left;
    for (Index k = 0; k < 2 * kLanes - 1; ++k) row[cols + k] = right;
}

DSNET_INLINE void copy_row(float* to, const float* from, Index cols) {
    for (Index x = -kLanes; x < cols + kLanes; ++x) to[x] = from[x];
}

void normalise(const EdgeGrid& grid, float surroundings, float scale) {
    for (Index y = 0; y < grid.rows; ++y) {
        const Index row = y * grid.stride;
        for (Index x = row; x < row + grid.cols; x += kLanes)
            store(grid.relative + x,
                  within((load(grid.grey + x) - surroundings) / scale, kLowestGrey, kHighestGrey));
    }
    const Index last = (grid.rows - 1) * grid.stride;
    for (Index y = 0; y < grid.rows; ++y) continue_row(grid.relative + y * grid.stride, grid.cols);
    copy_row(grid.relative - grid.stride, grid.relative, grid.cols);
    copy_row(grid.relative + last + grid.stride, grid.relative + last, grid.cols);
}

void smooth(const EdgeGrid& grid, const float* taps, int radius, float* out) {
    if (grid.bottom == 0) return;
    const auto least_of = [](Index a, Index b) { return a < b ? a : b; };
    const auto most_of = [](Index a, Index b) { return a > b ? a : b; };
    const Index last = grid.rows - 1;
    const Index top = most_of(grid.top - 1, 0), bottom = least_of(grid.bottom + 1, grid.rows);
    const Index left = most_of(grid.left - 1, 0), right = least_of(grid.right + 1, grid.cols);
    const Index from = most_of(left - radius, 0), to = least_of(right + radius, grid.cols);
    for (Index y = top; y < bottom; ++y) {
        const float* upper[kLargestRadius + 1];
        const float* lower[kLargestRadius + 1];
        for (Index k = 0; k <= radius; ++k) {
            upper[k] = grid.relative + most_of(y - k, 0) * grid.stride;
            lower[k] = grid.relative + least_of(y + k, last) * grid.stride;
        }
        for (Index x = from; x < to; x += kLanes) {
            Vector sum = load(upper[0] + x) * taps[0];
            for (int k = 1; k <= radius; ++k)
                sum += (load(upper[k] + x) + load(lower[k] + x)) * taps[k];
            store(grid.scratch + x, sum);
        }
        if (from == 0 || to == grid.cols) continue_row(grid.scratch, grid.cols);
        float* row = out + y * grid.stride;
        for (Index x = left; x < right; x += kLanes) {
            Vector sum = load(grid.scratch + x) * taps[0];
            for (int k = 1; k <= radius; ++k)
                sum += (load(grid.scratch + x - k) + load(grid.scratch + x + k)) * taps[k];
            store(row + x, sum);
        }
        if (left == 0 || right == grid.cols) continue_row(row, grid.cols);
        if (y == 0) copy_row(row - grid.stride, row, grid.cols);
        if (y == last) copy_row(row + grid.stride, row, grid.cols);
    }
}

// What fits the registers: pixels in vectors, and neurons at a time.
#if defined(__AVX512F__)
constexpr int kPixels = 2;
constexpr int kNeurons = 10;
#else
constexpr int kPixels = 1;
constexpr int kNeurons = 4;
#endif

// out = max(W in + b, 0), in the same order of sums for any number of pixels and neurons.
template <int Inputs, int Stride, int Outputs>
DSNET_INLINE void layer(const float (*weight)[Stride], const float* bias,
                        const Vector (*in)[kPixels], Vector (*out)[kPixels]) {
    static_assert(Outputs % kNeurons == 0, "neurons go so many at a time");
    for (int m = 0; m < Outputs; m += kNeurons) {
        Vector sum[kNeurons][kPixels];
        for (int n = 0; n < kNeurons; ++n)
            for (int p = 0; p < kPixels; ++p) sum[n][p] = all(bias[m + n]);
        for (int k = 0; k < Inputs; ++k)
            for (int n = 0; n < kNeurons; ++n)
                for (int p = 0; p < kPixels; ++p) sum[n][p] += in[k][p] * weight[m + n][k];
        for (int n = 0; n < kNeurons; ++n)
            for (int p = 0; p < kPixels; ++p) out[m + n][p] = greater_of(sum[n][p], Vector{});
    }
}

// Pixels that go through the network together, those of one row after those of another.
constexpr Index kBatch = 256;
struct Batch {
    alignas(64) float features[kVaryingFeatures][kBatch + kLanes];
    alignas(64) float outside[kBatch + kLanes];
    alignas(64) float log_odds[kBatch];
    struct Span {
        float* to;
        Index size;
    } spans[kBatch];
    Index pixels, span_count;
};

DSNET_INLINE void describe(const EdgeGrid& grid, Index y, Index x, Index at_pixel, Batch& batch) {
    const Index s = grid.stride, i = y * s + x;
    const Vector outside = load(grid.outside + i);
    store(batch.outside + at_pixel, outside);
    const float* g = grid.relative + i;
    const float* f = grid.smooth[0] + i;
    Greys<Vector> grey;
    grey.relative = grey.high = grey.low = load(g);
    for (Index dy = -s; dy <= s; dy += s) {
        for (Index dx = -1; dx <= 1; ++dx) {
            const Vector value = load(g + dy + dx);
            grey.high = greater_of(grey.high, value);
            grey.low = lesser_of(grey.low, value);
        }
    }
    grey.here = load(f);
    grey.above = load(f - s);
    grey.below = load(f + s);
    grey.left = load(f - 1);
    grey.right = load(f + 1);
    grey.wide = load(grid.smooth[1] + i);
    grey.widest = load(grid.smooth[2] + i);
    grey.by_row = y == 0 || y == grid.rows - 1 ? 1.0f : 0.5f;
    grey.by_column = all(0.5f);
    const Index last = grid.cols - 1 - x;
    if (x == 0) grey.by_column[0] = 1.0f;
    if (last >= 0 && last < kLanes) grey.by_column[last] = 1.0f;
    describe_pixel(grid, place(grid, y, x), outside, grey, [&](int feature, Vector value) {
        store(batch.features[feature] + at_pixel, value);
    });
}

void run(const EdgeGrid& grid, const EdgeNetwork& network, Batch& batch) {
    for (Index i = 0; i < batch.pixels; i += kPixels * kLanes) {
        Vector features[kVaryingFeatures][kPixels];
        Vector first[kHidden][kPixels], second[kHidden][kPixels];
        for (int k = 0; k < kVaryingFeatures; ++k)
            for (int p = 0; p < kPixels; ++p)
                features[k][p] = load(batch.features[k] + i + p * kLanes);
        layer<kVaryingFeatures, kFeatures, kHidden>(network.weight1, network.bias1, features,
                                                    first);
        layer<kHidden, kHidden, kHidden>(network.weight2, network.bias2, first, second);
        for (int p = 0; p < kPixels; ++p) {
            Vector odds = all(network.bias3);
            for (int k = 0; k < kHidden; ++k) odds += second[k][p] * network.weight3[k];
            const Vector outside = load(batch.outside + i + p * kLanes);
            odds = outside <= grid.reach ? within(odds, -kCertain, kCertain) : all(-kCertain);
            store(batch.log_odds + i + p * kLanes, odds);
        }
    }
    const float* from = batch.log_odds;
    for (Index k = 0; k < batch.span_count; ++k) {
        const auto span = batch.spans[k];
        if (span.size == kLanes)
            store(span.to, load(from));
        else
            for (Index lane = 0; lane < span.size; ++lane) span.to[lane] = from[lane];
        from += span.size;
    }
    batch.pixels = batch.span_count = 0;
}

void weigh(const EdgeGrid& grid, const EdgeNetwork& network, float* log_odds,
           std::ptrdiff_t log_odds_stride) {
    Batch batch;
    __builtin_memset(&batch, 0, sizeof(batch));
    for (Index y = 0; y < grid.rows; ++y) {
        float* row = log_odds + y * log_odds_stride;
        for (Index x = 0; x < grid.cols; ++x) row[x] = -kCertain;
        Index begin, end;
        reachable(grid, y, begin, end);
        for (Index x = begin; x < end; x += kLanes) {
            if (batch.pixels + kLanes > kBatch) run(grid, network, batch);
            describe(grid, y, x, batch.pixels, batch);
            const Index size = end - x < kLanes ? end - x : kLanes;
            batch.spans[batch.span_count++] = {row + x, size};
            batch.pixels += size;
        }
    }
    run(grid, network, batch);
}

}  // namespace

extern const EdgeSimd edge_simd;
const EdgeSimd edge_simd = {&measure, &normalise, &smooth, &weigh};

}  // namespace dsnet::DSNET_UNIT
