// Where the planes and vectors of one block's matting live.
//
// Planes are addressed by cell, and read across: p, slope and offset in float64, grey in float32.
// Vectors are addressed by the strip that a thread owns and the pixel in it, and read by that
// thread alone. Lists name the strips that hold unknown pixels, or windows that touch such.
#pragma once

#include <cstddef>

#include "matting/gpu_block.h"

namespace dsnet::matting_device {

// Small regions, such as any of a 64 x 64 image: planes in shared memory; of the vectors the
// solution x in shared memory too, the others in registers. b and the iterate that a descent began
// from, which no iteration touches, are in device memory.
//
//     p, slope, offset   3 x 4292 x 8 = 103008 bytes
//     x                      4096 x 8 =  32768
//     grey                   4292 x 4 =  17168
//                                      152944, of 166912 on sm_80, 232448 on sm_90 and sm_100
struct SmallShape {
    static constexpr int kThreads = 512, kSlots = 2, kSide = 64;
    static constexpr int kStride = kSide + 1;  // of any region: cells lie at fixed distances
    static constexpr int kCells = (kSide + 2) * kStride + 2;
    static constexpr bool kSharedX = true, kBands = false;
    DSNET_HOST_DEVICE static bool fits(const Band& band) {
        return band.rows <= kSide && band.cols <= kSide;
    }
    static_assert(kThreads * kSlots * kStrip >= kSide * kSide, "a slot for each strip");
};

// A band of a larger region, a block of a cluster: x in device memory for want of room.
//
//     p, slope, offset   3 x 8000 x 8 = 192000 bytes
//     grey                   8000 x 4 =  32000
//                                      224000, of 232448 on sm_90 and sm_100
template <int kMostCols>
struct BandShape {
    static constexpr int kThreads = 384, kSlots = 3;
    static constexpr int kStride = kMostCols + 1;
    static constexpr int kCells = 8000;
    static constexpr bool kSharedX = false, kBands = true;
    DSNET_HOST_DEVICE static bool fits(const Band& band) {
        return band.cols <= kMostCols && band.plane() <= kCells;
    }
};

template <class Shape>
struct RegisterStore {
    static constexpr int kThreads = Shape::kThreads, kSlots = Shape::kSlots;
    static constexpr int kStride = Shape::kStride, kCells = Shape::kCells;
    static constexpr int kStrips = kThreads * kSlots;
    static constexpr int kPixels = kStrips * kStrip;
    static_assert(kCells <= 1 << (32 - kCountsBits), "a cell beside its counts");
    static constexpr bool kMayOverflow = Shape::kBands;
    static constexpr std::size_t kSharedBytes =
        sizeof(double) * (3 * kCells + (Shape::kSharedX ? kPixels : 0)) + sizeof(float) * kCells;
    static constexpr std::size_t kDeviceBytes =
        sizeof(double) * (Shape::kSharedX ? 2 : 3) * kPixels;

    struct Thread {
        std::uint32_t window[kSlots], pixel[kSlots];  // the latter with its counts
        double gain[kSlots][kStrip], r[kSlots][kStrip], q[kSlots][kStrip];
        float relax[kSlots][kStrip];
    };

    DSNET_DEVICE RegisterStore(double* shared, double* device)
        : planes_(shared),
          b_(device),
          grey_(reinterpret_cast<float*>(shared + 3 * kCells + (Shape::kSharedX ? kPixels : 0))) {
        // Lists are read before the plane that they lie in is used, and no longer than its strips.
        pixel_list = reinterpret_cast<int*>(shared + 2 * kCells);
        count_list = reinterpret_cast<std::uint32_t*>(pixel_list) + kCells / kStrip;
        window_list = count_list + kCells / kStrip;
    }
    DSNET_HOST_DEVICE static bool fits(const Band& band) { return Shape::fits(band); }
    DSNET_DEVICE double* planes() const { return planes_; }
    DSNET_DEVICE void place(const Band& band) {
        p = planes_ + band.origin();
        slope = p + kCells;
        offset = slope + kCells;
        grey = grey_ + band.origin();
    }
    // Writes a plane's cell, in row j of a strip, here and, of the band's first and last row, where
    // the neighbour reads it. Bands are whole strips.
    DSNET_DEVICE void put(const Neighbours& to, double* plane, int cell, int j,
                          double value) const {
        plane[cell] = value;
        if (!Shape::kBands) return;
        const int at = int(plane - planes_) + cell;
        if (j == 0 && cell < kStride && to.above != nullptr) to.above[at + to.band] = value;
        if (j == kStrip - 1 && cell >= to.band - kStride && to.below != nullptr)
            to.below[at - to.band] = value;
    }
    // These set what a thread does not need too, which is cheaper than to keep what it had.
    DSNET_DEVICE void take_lists(Thread& own, int t, int windows, int pixels) const {
        DSNET_UNROLL
        for (int k = 0; k < kSlots; ++k) {
            const int i = t + k * kThreads;
            own.window[k] = i < windows ? window_list[i] : 0;
            own.pixel[k] = i < pixels ? std::uint32_t(pixel_list[i]) << kCountsBits | count_list[i]
                                      : 0;
        }
    }
    // Gains from the offset's plane.
    DSNET_DEVICE void take_gains(Thread& own, int, int, int stride) const {
        DSNET_UNROLL
        for (int k = 0; k < kSlots; ++k) DSNET_UNROLL
        for (int j = 0; j < kStrip; ++j)
            own.gain[k][j] = offset[int(opaque(own.window[k]) >> kStrip) + j * stride];
    }
    // From where `before` will be.
    DSNET_DEVICE void take_relax(Thread& own, int t, int) const {
        DSNET_UNROLL
        for (int k = 0; k < kSlots; ++k) DSNET_UNROLL
        for (int j = 0; j < kStrip; ++j) own.relax[k][j] = float(before(t, k, j));
    }
    template <class Body>
    DSNET_DEVICE static void each_slot(int t, int count, Body body) {
        DSNET_UNROLL
        for (int k = 0; k < kSlots; ++k)
            if (t + k * kThreads < count) body(k);
    }
    DSNET_DEVICE std::uint32_t window(const Thread& own, int, int k) const {
        return opaque(own.window[k]);
    }
    DSNET_DEVICE int pixel(const Thread& own, int, int k) const {
        return int(opaque(own.pixel[k]) >> kCountsBits);
    }
    DSNET_DEVICE std::uint32_t counts(const Thread& own, int, int k) const {
        return opaque(own.pixel[k]) & ((1u << kCountsBits) - 1);
    }
    DSNET_DEVICE double& gain(Thread& own, int, int k, int j) const { return own.gain[k][j]; }
    DSNET_DEVICE double& r(Thread& own, int, int k, int j) const { return own.r[k][j]; }
    DSNET_DEVICE double& q(Thread& own, int, int k, int j) const { return own.q[k][j]; }
    DSNET_DEVICE float& relax(Thread& own, int, int k, int j) const { return own.relax[k][j]; }
    DSNET_DEVICE double& x(Thread&, int t, int k, int j) const {
        double* const vectors = Shape::kSharedX ? planes_ + 3 * kCells : b_ + 2 * kPixels;
        return vectors[at(t, k, j)];
    }
    DSNET_DEVICE double& b(int t, int k, int j) const { return b_[at(t, k, j)]; }
    DSNET_DEVICE double& before(int t, int k, int j) const { return b_[kPixels + at(t, k, j)]; }

    double *p, *slope, *offset;
    float* grey;
    int* pixel_list;
    std::uint32_t *count_list, *window_list;

  private:
    DSNET_DEVICE static int at(int t, int k, int j) { return (k * kStrip + j) * kThreads + t; }

    double *planes_, *b_;
    float* grey_;
};

// Any region, all in device memory, of which the part that an iteration touches should stay in
// the L2 cache.
template <int kThreads>
struct MemoryStore {
    static constexpr int kStride = 0, kStrips = 0;
    static constexpr bool kMayOverflow = false;
    struct Thread {};

    // What regions of an image of this size can take, in elements.
    struct Size {
        std::size_t cells, strips, pixels;

        DSNET_HOST_DEVICE Size(int rows, int cols) {
            const std::size_t height = std::size_t(rows + kStrip - 1) / kStrip;
            cells = (height * kStrip + 2) * std::size_t(cols + 1) + 2;
            cells += cells % 2;
            strips = (height * std::size_t(cols) + kThreads - 1) / kThreads * kThreads;
            pixels = strips * kStrip;
        }
        DSNET_HOST_DEVICE std::size_t bytes() const {
            return sizeof(double) * (3 * cells + 6 * pixels) + sizeof(float) * (cells + pixels) +
                   sizeof(std::uint32_t) * 3 * strips;
        }
    };

    DSNET_DEVICE MemoryStore(double* device, int rows, int cols) : planes_(device) {
        const Size size(rows, cols);
        cells_ = size.cells;
        gain_ = device + 3 * size.cells;
        r_ = gain_ + size.pixels;
        q_ = r_ + size.pixels;
        x_ = q_ + size.pixels;
        b_ = x_ + size.pixels;
        before_ = b_ + size.pixels;
        grey_ = reinterpret_cast<float*>(before_ + size.pixels);
        relax_ = grey_ + size.cells;
        pixel_list = reinterpret_cast<int*>(relax_ + size.pixels);
        count_list = reinterpret_cast<std::uint32_t*>(pixel_list + size.strips);
        window_list = count_list + size.strips;
    }
    DSNET_DEVICE static bool fits(const Band&) { return true; }
    DSNET_DEVICE double* planes() const { return planes_; }
    DSNET_DEVICE void place(const Band& band) {
        p = planes_ + band.origin();
        slope = p + cells_;
        offset = slope + cells_;
        grey = grey_ + band.origin();
    }
    DSNET_DEVICE static void put(const Neighbours&, double* plane, int cell, int, double value) {
        plane[cell] = value;
    }
    DSNET_DEVICE void take_lists(Thread&, int, int, int) const {}
    DSNET_DEVICE void take_gains(Thread&, int t, int windows, int stride) const {
        each_slot(t, windows, [&](int k) {
            const int cell = int(window(Thread(), t, k) >> kStrip);
            for (int j = 0; j < kStrip; ++j) gain_[at(t, k, j)] = offset[cell + j * stride];
        });
    }
    DSNET_DEVICE void take_relax(Thread&, int t, int pixels) const {
        each_slot(t, pixels, [&](int k) {
            for (int j = 0; j < kStrip; ++j) relax_[at(t, k, j)] = float(before(t, k, j));
        });
    }
    template <class Body>
    DSNET_DEVICE static void each_slot(int t, int count, Body body) {
        for (int k = 0; t + k * kThreads < count; ++k) body(k);
    }
    DSNET_DEVICE std::uint32_t window(const Thread&, int t, int k) const {
        return window_list[t + k * kThreads];
    }
    DSNET_DEVICE int pixel(const Thread&, int t, int k) const {
        return pixel_list[t + k * kThreads];
    }
    DSNET_DEVICE std::uint32_t counts(const Thread&, int t, int k) const {
        return count_list[t + k * kThreads];
    }
    DSNET_DEVICE double& gain(Thread&, int t, int k, int j) const { return gain_[at(t, k, j)]; }
    DSNET_DEVICE double& r(Thread&, int t, int k, int j) const { return r_[at(t, k, j)]; }
    DSNET_DEVICE double& q(Thread&, int t, int k, int j) const { return q_[at(t, k, j)]; }
    DSNET_DEVICE float& relax(Thread&, int t, int k, int j) const { return relax_[at(t, k, j)]; }
    DSNET_DEVICE double& x(Thread&, int t, int k, int j) const { return x_[at(t, k, j)]; }
    DSNET_DEVICE double& b(int t, int k, int j) const { return b_[at(t, k, j)]; }
    DSNET_DEVICE double& before(int t, int k, int j) const { return before_[at(t, k, j)]; }

    double *p, *slope, *offset;
    float* grey;
    int* pixel_list;
    std::uint32_t *count_list, *window_list;

  private:
    DSNET_DEVICE static std::size_t at(int t, int k, int j) {
        return std::size_t(k * kStrip + j) * kThreads + std::size_t(t);
    }

    double *planes_, *gain_, *r_, *q_, *x_, *b_, *before_;
    float *grey_, *relax_;
    std::size_t cells_;
};

using SmallStore = RegisterStore<SmallShape>;
// A cluster of at most so many blocks solves an image, each a band of its rows.
constexpr int kNarrowBand = 128, kWideBand = 256;  // columns
template <int kMostCols>
using BandStore = RegisterStore<BandShape<kMostCols>>;
constexpr int kBandThreads = BandStore<kWideBand>::kThreads;
constexpr std::size_t kBandSharedBytes = BandStore<kWideBand>::kSharedBytes;
constexpr std::size_t kBandDeviceBytes = BandStore<kWideBand>::kDeviceBytes;
constexpr int kMostBlocks = 8;
constexpr int kNarrowBlocks = 4, kWideBlocks = kMostBlocks;

constexpr int kLargeThreads = 512;
using LargeStore = MemoryStore<kLargeThreads>;

}  // namespace dsnet::matting_device
