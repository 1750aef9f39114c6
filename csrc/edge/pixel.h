// A cell of the mark's frame: where it lies, what the network is told of it, and what a pixel is
// told by the cells around. Compiled for each vector unit and for the GPU, with the same bits from
// all. `V` is float or FloatVector. Included below base/lanes.h, whose unit it takes, or below
// base/gpu_block.h.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "edge/curve.h"

#ifndef DSNET_UNIT
#define DSNET_UNIT pixel
#define DSNET_EDGE_INLINE DSNET_HOST_DEVICE
#else
#define DSNET_EDGE_INLINE DSNET_INLINE
#endif

namespace dsnet::DSNET_UNIT {

constexpr float kLeastShare = 1e-3f;
// Added to a number and taken off again, it rounds to the nearest even whole one.
constexpr float kWhole = 12582912.0f;

template <class V>
DSNET_EDGE_INLINE V lesser_of(V a, V b) {
    return a < b ? a : b;
}
template <class V>
DSNET_EDGE_INLINE V greater_of(V a, V b) {
    return a > b ? a : b;
}
template <class V>
DSNET_EDGE_INLINE V filled(float value) {
    return V{} + value;
}
template <class V>
DSNET_EDGE_INLINE V within(V v, float low, float high) {
    return lesser_of(greater_of(v, filled<V>(low)), filled<V>(high));
}
template <class V>
DSNET_EDGE_INLINE V root(V v) {
    if constexpr (std::is_same_v<V, float>) {
        return sqrtf(v);
    } else {
        V out;
        for (int lane = 0; lane < int(sizeof(V) / sizeof(float)); ++lane)
            out[lane] = __builtin_sqrtf(v[lane]);
        return out;
    }
}

// Where a cell lies against the curve: its distance from the axes' crossing as a share of the
// curve's radius, and pixels outside the curve, negative inside.
template <class V>
struct Place {
    V share, outside;
};

// Of the cell `column`, `row` of the frame.
template <class V>
DSNET_EDGE_INLINE Place<V> place_of(const EdgeCurve& curve, float row, V column) {
    constexpr float kMiddle = 0.5f - kGrid / 2;
    const V u = (column + kMiddle) * curve.step - curve.cross_u;
    const V v = filled<V>((row + kMiddle) * curve.step - curve.cross_v);
    const V half_u = u >= 0 ? filled<V>(curve.half_u[1]) : filled<V>(curve.half_u[0]);
    const V half_v = v >= 0 ? filled<V>(curve.half_v[1]) : filled<V>(curve.half_v[0]);
    const V a = u / half_u, b = v / half_v;
    const V share = greater_of(root(a * a + b * b), filled<V>(kLeastShare));
    // At the very crossing no ray says how far the curve is.
    const V outside =
        greater_of(root(u * u + v * v) * (1.0f - 1.0f / share), filled<V>(-curve.half_short));
    return {share, share > kLeastShare ? outside : filled<V>(-curve.half_short)};
}

// What the network is told of a cell, as whole numbers.
template <class V>
DSNET_EDGE_INLINE V told(V value, float low, float high) {
    return (within(value, low, high) * kInputUnits + kWhole) - kWhole;
}
template <class V>
DSNET_EDGE_INLINE V told_grey(V grey, float surroundings, float scale) {
    return told((grey - surroundings) / scale, kLowestGrey, kHighestGrey);
}
template <class V>
DSNET_EDGE_INLINE V told_pixels(V outside) {
    return told(outside / kMostOutside, -1.0f, 1.0f);
}
template <class V>
DSNET_EDGE_INLINE V told_share(V outside, float half_short) {
    return told(outside / half_short, kLeastOutsideShare, kMostOutsideShare);
}

// The first layer's bias with what is the same for all cells, to the nearest whole number.
DSNET_EDGE_INLINE std::int32_t first_bias(const EdgeNetwork& network, int output,
                                          const double* constants, double spread) {
    constexpr double kWholeDouble = 6755399441055744.0;
    double sum = network.bias[output];
    for (int k = 0; k < kConstants; ++k)
        sum += network.of_constants[output][k] * (k == kSpreadConstant ? spread : constants[k]);
    return std::int32_t((sum + kWholeDouble) - kWholeDouble);
}

// A place of the image from the `column`, `row` of the frame's cells, counted from its corner.
template <class V>
struct Point {
    V x, y;
};
template <class V>
DSNET_EDGE_INLINE Point<V> sample_of(const EdgeCurve& curve, float row, V column) {
    const V u = (column - float(kGrid / 2)) * curve.step;
    const float v = (row - float(kGrid / 2)) * curve.step;
    return {(u * curve.along_x + curve.x) - v * curve.along_y,
            (u * curve.along_y + curve.y) + v * curve.along_x};
}

// The other way round: where a pixel lies among the cells' centres, and whether it lies in the
// frame.
template <class V>
DSNET_EDGE_INLINE Point<V> cell_of(const EdgeCurve& curve, float y, V x) {
    const V dx = x - curve.x;
    const float dy = y - curve.y;
    constexpr float kMiddle = kGrid / 2 - 0.5f;
    return {(dx * curve.along_x + dy * curve.along_y) * curve.cells_per_pixel + kMiddle,
            (dy * curve.along_x - dx * curve.along_y) * curve.cells_per_pixel + kMiddle};
}
template <class V>
DSNET_EDGE_INLINE auto in_frame(Point<V> cell) {
    return (cell.x >= -0.5f) & (cell.x <= kGrid - 0.5f) & (cell.y >= -0.5f) &
           (cell.y <= kGrid - 0.5f);
}

// Log-odds for each grey value that a pixel is above the cells around it. `scale`: the contrast;
// `spread`: the surroundings', beside it.
DSNET_EDGE_INLINE float detail_of(float scale, float spread) {
    const float noise = kDetailSpread * spread;
    return kDetail / (scale * (1.0f + noise * noise));
}

// Log-odds in steps, for the threshold: the whole part counts.
template <class V>
DSNET_EDGE_INLINE V step_of(V log_odds) {
    return within((log_odds + kCertain) * kStepsPerLogOdd, 0.0f, float(kSteps - 1));
}

// Whether a place of the frame lies in an image.
template <class V>
DSNET_EDGE_INLINE auto in_image(const EdgeCurve& curve, float row, V column, int rows, int cols) {
    const Point<V> at = sample_of(curve, row, column);
    return (at.x >= -0.5f) & (at.x <= float(cols) - 0.5f) & (at.y >= -0.5f) &
           (at.y <= float(rows) - 0.5f);
}

// What is lesion: the cells from a threshold on, the one with the greatest expected Dice. With
// calibrated probabilities p that is 2 sum(p of the lesion) / (lesion's cells + sum(p of all)).
// `counts`: cells by `step_of`; `probability`: of a step, in kProbabilityUnits.
DSNET_EDGE_INLINE EdgeThreshold best_threshold(const std::int32_t* counts,
                                               const std::int32_t* probability) {
    static_assert(kCells * kProbabilityUnits <= (1 << 26), "sums are whole numbers of 32 bits");
    std::int32_t all = 0;
    for (int k = 0; k < kSteps; ++k) all += counts[k] * probability[k];
    EdgeThreshold best = {0.0f, 0.0};
    std::int32_t sum = 0, whole = all, best_sum = 0, best_whole = 1;
    for (int k = kSteps - 1; k >= 0; --k) {
        sum += counts[k] * probability[k];
        whole += counts[k] * kProbabilityUnits;
        if (std::int64_t(sum) * best_whole <= std::int64_t(best_sum) * whole) continue;
        best_sum = sum;
        best_whole = whole;
        best.log_odds = float(k) / kStepsPerLogOdd - kCertain;
    }
    best.expected_dice = 2.0 * double(best_sum) / double(best_whole);
    return best;
}

template <class V>
DSNET_EDGE_INLINE V mixed(V first, V second, V share) {
    return first + (second - first) * share;
}

}  // namespace dsnet::DSNET_UNIT
