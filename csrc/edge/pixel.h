// Features of the edge model, of one pixel or of a vector of them: compiled for each vector unit
// and for the GPU, with the same bits from all. `V` is float or Vector. Included below
// base/lanes.h, whose unit it takes, or below base/gpu_block.h.
#pragma once

#include <cmath>
#include <type_traits>

#include "edge/curve.h"

#ifndef DSNET_UNIT
#define DSNET_UNIT pixel
#define DSNET_EDGE_INLINE DSNET_HOST_DEVICE
#else
#define DSNET_EDGE_INLINE DSNET_INLINE
#endif

namespace dsnet::DSNET_UNIT {

// Nearer to the axes' crossing than this, the way out of the lesion has no direction.
constexpr float kLeastRadius = 1e-3f;
constexpr float kLeastShare = 1e-3f;

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
DSNET_EDGE_INLINE V size_of(V v) {
    return greater_of(v, -v);
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

// A pixel's place along the two axes, from the curve's origin.
template <class V>
struct Place {
    V u, v, radius, half_u, half_v;
};

template <class V>
DSNET_EDGE_INLINE Place<V> place_of(const EdgeCurve& curve, float y, V x) {
    const V dx = x - curve.x;
    const float dy = y - curve.y;
    Place<V> at;
    at.u = dx * curve.along_x + dy * curve.along_y;
    at.v = dy * curve.along_x - dx * curve.along_y;
    at.radius = root(at.u * at.u + at.v * at.v);
    at.half_u = at.u >= 0 ? filled<V>(curve.half_u[1]) : filled<V>(curve.half_u[0]);
    at.half_v = at.v >= 0 ? filled<V>(curve.half_v[1]) : filled<V>(curve.half_v[0]);
    return at;
}

// Distance from the centre as a share of an ellipse's radius.
template <class V>
DSNET_EDGE_INLINE V share_of(V u, V v, V half_u, V half_v) {
    const V a = u / half_u, b = v / half_v;
    return greater_of(root(a * a + b * b), filled<V>(kLeastShare));
}

// Pixels outside an ellipse, negative inside.
template <class V>
DSNET_EDGE_INLINE V outside_of(V radius, V share, float half_short) {
    // At the very centre no ray says how far the ellipse is.
    const V outside = greater_of(radius * (1.0f - 1.0f / share), filled<V>(-half_short));
    return share > kLeastShare ? outside : filled<V>(-half_short);
}

// Grey values around a pixel: relative, with their extremes among the nine, and smoothed.
template <class V>
struct Greys {
    V relative, high, low;
    V here, above, below, left, right;  // by the narrowest filter
    V wide, widest;                     // by the others
    // One half, or 1 at the window's edges, where the value beyond is the one within.
    V by_column;
    float by_row;
};

// Calls put(k, value) for the features that vary.
template <class V, class Put>
DSNET_EDGE_INLINE void describe_pixel(const EdgeCurve& curve, const Place<V>& at, V outside,
                                      const Greys<V>& grey, Put put) {
    const float half_short = curve.half_short;
    const V centre_u = at.u + curve.centre_u, centre_v = at.v + curve.centre_v;
    const V share = share_of(centre_u, centre_v, filled<V>(curve.half_long), filled<V>(half_short));
    const V off_ellipse =
        outside_of(root(centre_u * centre_u + centre_v * centre_v), share, half_short);
    const V slope_y = (grey.below - grey.above) * grey.by_row;
    const V slope_x = (grey.right - grey.left) * grey.by_column;
    const V out_x = at.u * curve.along_x - at.v * curve.along_y;
    const V out_y = at.u * curve.along_y + at.v * curve.along_x;
    put(0, within(outside, -5.0f, 5.0f));
    put(1, within(outside / half_short, -1.0f, 1.5f));
    put(2, within(off_ellipse, -5.0f, 5.0f));
    put(3, within(off_ellipse / half_short, -1.0f, 1.5f));
    put(4, grey.relative);
    put(5, grey.here);
    put(6, grey.wide);
    put(7, grey.widest);
    put(8, (slope_x * out_x + slope_y * out_y) / greater_of(at.radius, filled<V>(kLeastRadius)));
    put(9, root(slope_x * slope_x + slope_y * slope_y));
    put(10, grey.high);
    put(11, grey.low);
    put(12, ((grey.above + grey.below) - 2.0f * grey.here) +
                ((grey.left + grey.right) - 2.0f * grey.here));
    put(13, lesser_of(size_of(at.u) / at.half_u, filled<V>(2.0f)));
    put(14, lesser_of(size_of(at.v) / at.half_v, filled<V>(2.0f)));
}

}  // namespace dsnet::DSNET_UNIT
