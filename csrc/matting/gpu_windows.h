// Arithmetic of batched closed-form matting, compiled for the GPU and for the CPU alike. The method
// is that of matting/simd.cpp: of a window w of n pixels, with mean m and gain
// g = 1 / (n variance + epsilon), the values p see
//
//     s = sum p,  slope = g (sum I p - m s),  offset = s / n - m slope,
//     (L p)_i = sum over windows around i of (p_i - slope I_i - offset).
//
// Pixels and windows are worked on in strips of kStrip below each other, which share the sums over
// three pixels side by side. Planes hold one row and one column of zeros around what they show.
#pragma once

#include <cmath>
#include <cstdint>

#include "base/gpu_block.h"
#include "matting/numbers.h"
#include "trimap/numbers.h"

namespace dsnet::matting_device {

constexpr int kStrip = 4;

// The value itself, but the compiler cannot tell: what is computed from it is not kept in registers
// from one use to the next.
template <class T>
DSNET_HOST_DEVICE T opaque(T value) {
#if defined(__CUDA_ARCH__)
    asm volatile("" : "+r"(value));
#endif
    return value;
}
DSNET_HOST_DEVICE float opaque(float value) {
#if defined(__CUDA_ARCH__)
    asm volatile("" : "+f"(value));
#endif
    return value;
}

DSNET_HOST_DEVICE int least(int a, int b) { return a < b ? a : b; }
DSNET_HOST_DEVICE int most(int a, int b) { return a > b ? a : b; }
DSNET_HOST_DEVICE double least(double a, double b) { return a < b ? a : b; }
DSNET_HOST_DEVICE double most(double a, double b) { return a > b ? a : b; }

DSNET_HOST_DEVICE bool is_usable(float grey) {
    return grey >= -kLargestGrey && grey <= kLargestGrey;
}

DSNET_HOST_DEVICE bool is_trimap_value(std::uint8_t mark) {
    return mark == kBackground || mark == kUnknown || mark == kForeground;
}

// Windows are 3 pixels wide, less where the image is, and lie inside it. Their centres are first to
// last; a window of 1 or 2 pixels is centred on pixel 0.
struct Centres {
    int first, last, width;
};

DSNET_HOST_DEVICE Centres window_centres(int size) {
    if (size < 3) return {0, 0, size};
    return {1, size - 2, 3};
}

// How many of the windows around a coordinate there are.
DSNET_HOST_DEVICE int windows_around(int at, const Centres& centres) {
    return least(at + 1, centres.last) - most(at - 1, centres.first) + 1;
}

struct WindowFit {
    double mean, gain;
    bool untied;  // two grey values alone, within kSameGrey of their difference; see simd.h
};

// grey(dy, dx) is asked for the window's own pixels alone, -1 to 1 each, as inside(dy, dx) says.
template <typename Grey, typename Inside>
DSNET_HOST_DEVICE WindowFit fit_window(Grey grey, Inside inside, double share, double epsilon) {
    double sum = 0;
    float low = grey(0, 0), high = low;
    DSNET_ROLLED
    for (int k = 0; k < 9; ++k) {
        const int dy = k / 3 - 1, dx = k % 3 - 1;
        if (!inside(dy, dx)) continue;
        const float value = grey(dy, dx);
        sum += value;
        low = value < low ? value : low;
        high = value > high ? value : high;
    }
    const double mean = sum * share;
    double scatter = 0;
    float between = 0;
    DSNET_ROLLED
    for (int k = 0; k < 9; ++k) {
        const int dy = k / 3 - 1, dx = k % 3 - 1;
        if (!inside(dy, dx)) continue;
        const float value = grey(dy, dx);
        scatter += (value - mean) * (value - mean);
        const float above = value - low, below = high - value;
        const float off = above < below ? above : below;
        between = off > between ? off : between;
    }
    return {mean, 1.0 / (scatter + epsilon), high > low && between <= kSameGrey * (high - low)};
}

// 1 / min(count + weight, 2 A_ii), see `weigh_smoother` in simd.h. `fitted`: the sum over
// the windows of gain (grey - mean)^2.
DSNET_HOST_DEVICE float relaxation(int count, double share, double weight, double fitted) {
    const double whole = count + weight;
    const double twice = 2 * (whole - count * share - fitted);
    const double least_left = kLeastWeight * whole;
    return float(1.0 / (twice < whole ? most(twice, least_left) : whole));
}

// The sums of three rows each, of kStrip + 2 rows.
DSNET_HOST_DEVICE void sum_rows(const double (&rows)[kStrip + 2], double (&sums)[kStrip]) {
    DSNET_UNROLL
    for (int j = 0; j < kStrip; ++j) sums[j] = rows[j] + rows[j + 1] + rows[j + 2];
}

// sum p, sum I p and sum I of the windows of a strip, whose first is centred on `cell`. The last is
// cheaper to sum again than to keep.
DSNET_HOST_DEVICE void window_moments(const double* p, const float* grey, int stride, int cell,
                                      double (&sums)[kStrip], double (&moments)[kStrip],
                                      double (&greys)[kStrip]) {
    double sum[kStrip + 2], moment[kStrip + 2], shade[kStrip + 2];
    DSNET_UNROLL
    for (int j = 0; j < kStrip + 2; ++j) {
        const int i = cell + (j - 1) * stride;
        const double left = p[i - 1], here = p[i], right = p[i + 1];
        const double a = grey[i - 1], b = grey[i], c = grey[i + 1];
        sum[j] = left + here + right;
        moment[j] = a * left + b * here + c * right;
        shade[j] = a + b + c;
    }
    sum_rows(sum, sums);
    sum_rows(moment, moments);
    sum_rows(shade, greys);
}

// Sum over the windows around each pixel of a strip of slope I + offset.
DSNET_HOST_DEVICE void fitted_values(const double* slope, const double* offset, const float* grey,
                                     int stride, int cell, double (&fitted)[kStrip]) {
    double slopes[kStrip + 2], offsets[kStrip + 2], a[kStrip], b[kStrip];
    DSNET_UNROLL
    for (int j = 0; j < kStrip + 2; ++j) {
        const int i = cell + (j - 1) * stride;
        slopes[j] = slope[i - 1] + slope[i] + slope[i + 1];
        offsets[j] = offset[i - 1] + offset[i] + offset[i + 1];
    }
    sum_rows(slopes, a);
    sum_rows(offsets, b);
    DSNET_UNROLL
    for (int j = 0; j < kStrip; ++j) fitted[j] = double(grey[cell + j * stride]) * a[j] + b[j];
}

DSNET_HOST_DEVICE float clamped(double value) {
    const auto alpha = float(value);
    return alpha > 0.0f ? (alpha < 1.0f ? alpha : 1.0f) : 0.0f;
}

DSNET_HOST_DEVICE float not_a_number() { return float(NAN); }

// Alpha where a system says nothing: without foreground 0, without background 1, else open.
DSNET_HOST_DEVICE float open_alpha(double foreground, double background) {
    return background > 0 ? 0.0f : foreground > 0 ? 1.0f : 0.5f;
}

// Counts of the windows around a strip's pixels, four bits each; 0 where a pixel is known.
constexpr int kCountBits = 4, kCountsBits = kStrip * kCountBits;
DSNET_HOST_DEVICE std::uint32_t packed_count(int count, int j) {
    return std::uint32_t(count) << (kCountBits * j);
}
DSNET_HOST_DEVICE int count_of(std::uint32_t counts, int j) {
    return int(counts >> (kCountBits * j) & 0xf);
}

}  // namespace dsnet::matting_device
