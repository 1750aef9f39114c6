// Where the planes and vectors of one block's matting live.
//
// Planes are addressed by cell, and read across: p, slope and offset in float64, grey in float32.
// Vectors are addressed by the strip that a thread owns and the pixel in it, and read by that
// thread alone. Lists name the strips that hold unknown pixels, or windows that touch such.
#pragma once

#include <cstddef>

#include "matting_block.h"

namespace dsnet::matting_device {

// Small regions, such as any of a 64 x 64 image: planes in shared memory; of the vectors
// the solution x in shared memory too, the others in registers. b and the iterate
// that a descent began from, which no iteration touches, are in device memory.
//
//     p, slope, offset   3 x 4292 x 8 = 103008 bytes
//     x                      4096 x 8 =  32768
//     grey                   4292 x 4 =  17168
//                                      152944, of 166912 on sm_80, 232448 on sm_90 and sm_100
template <int kThreads, int kSlots>
struct RegisterStore {
    static constexpr int kCells = 66 * 65 + 2;
    static constexpr int kStrips = kThreads * kSlots;
    static constexpr int kPixels = kStrips * kStrip;
    static constexpr std::size_t kSharedBytes =
        sizeof(double) * (3 * kCells + kPixels) + sizeof(float) * kCells;
    static constexpr std::size_t kDeviceBytes = sizeof(double) * 2 * kPixels;

    struct Thread {
        std::uint32_t window[kSlots], counts[kSlots];
        int pixel[kSlots];
        double mean[kSlots][kStrip], gain[kSlots][kStrip];
        double r[kSlots][kStrip], q[kSlots][kStrip];
        float relax[kSlots][kStrip];
    };

    DSNET_BLOCK RegisterStore(double* shared, double* device)
        : planes_(shared), x_(shared + 3 * kCells), b_(device), before_(device + kPixels) {
        // Lists are read before the plane below them is used.
        pixel_list = reinterpret_cast<int*>(shared + 2 * kCells);
        count_list = reinterpret_cast<std::uint32_t*>(pixel_list + kStrips);
        window_list = count_list + kStrips;
    }
    DSNET_BLOCK static bool fits(const Region& region) {
        return region.plane() <= kCells && region.strip_count() <= kStrips;
    }
    DSNET_BLOCK void place(const Region& region) {
        p = planes_ + region.origin();
        slope = p + kCells;
        offset = slope + kCells;
        grey = reinterpret_cast<float*>(x_ + kPixels) + region.origin();
    }
    DSNET_BLOCK void take_lists(Thread& own, int t, int windows, int pixels) const {
        each_slot(t, windows, [&](int k) { own.window[k] = window_list[t + k * kThreads]; });
        each_slot(t, pixels, [&](int k) {
            own.pixel[k] = pixel_list[t + k * kThreads];
            own.counts[k] = count_list[t + k * kThreads];
        });
    }
    template <class Body>
    DSNET_BLOCK static void each_slot(int t, int count, Body body) {
        DSNET_UNROLL
        for (int k = 0; k < kSlots; ++k)
            if (t + k * kThreads < count) body(k);
    }
    DSNET_BLOCK std::uint32_t window(const Thread& own, int, int k) const { return own.window[k]; }
    DSNET_BLOCK int pixel(const Thread& own, int, int k) const { return own.pixel[k]; }
    DSNET_BLOCK std::uint32_t counts(const Thread& own, int, int k) const { return own.counts[k]; }
    DSNET_BLOCK double& mean(Thread& own, int, int k, int j) const { return own.mean[k][j]; }
    DSNET_BLOCK double& gain(Thread& own, int, int k, int j) const { return own.gain[k][j]; }
    DSNET_BLOCK double& r(Thread& own, int, int k, int j) const { return own.r[k][j]; }
    DSNET_BLOCK double& q(Thread& own, int, int k, int j) const { return own.q[k][j]; }
    DSNET_BLOCK float& relax(Thread& own, int, int k, int j) const { return own.relax[k][j]; }
    DSNET_BLOCK double& x(Thread&, int t, int k, int j) const { return x_[at(t, k, j)]; }
    DSNET_BLOCK double& b(int t, int k, int j) const { return b_[at(t, k, j)]; }
    DSNET_BLOCK double& before(int t, int k, int j) const { return before_[at(t, k, j)]; }

    double *p, *slope, *offset;
    float* grey;
    int* pixel_list;
    std::uint32_t *count_list, *window_list;

  private:
    DSNET_BLOCK static int at(int t, int k, int j) { return (k * kStrip + j) * kThreads + t; }

    double *planes_, *x_, *b_, *before_;
};

// Any region, all in device memory, of which the part that an iteration touches should stay in
// the L2 cache.
template <int kThreads>
struct MemoryStore {
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
            return sizeof(double) * (3 * cells + 7 * pixels) + sizeof(float) * (cells + pixels) +
                   sizeof(std::uint32_t) * 3 * strips;
        }
    };

    DSNET_BLOCK MemoryStore(double* device, int rows, int cols) : planes_(device) {
        const Size size(rows, cols);
        cells_ = size.cells;
        double* vectors = device + 3 * size.cells;
        mean_ = vectors;
        gain_ = mean_ + size.pixels;
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
    DSNET_BLOCK static bool fits(const Region&) { return true; }
    DSNET_BLOCK void place(const Region& region) {
        p = planes_ + region.origin();
        slope = p + cells_;
        offset = slope + cells_;
        grey = grey_ + region.origin();
    }
    DSNET_BLOCK void take_lists(Thread&, int, int, int) const {}
    template <class Body>
    DSNET_BLOCK static void each_slot(int t, int count, Body body) {
        for (int k = 0; t + k * kThreads < count; ++k) body(k);
    }
    DSNET_BLOCK std::uint32_t window(const Thread&, int t, int k) const {
        return window_list[t + k * kThreads];
    }
    DSNET_BLOCK int pixel(const Thread&, int t, int k) const { return pixel_list[t + k * kThreads]; }
    DSNET_BLOCK std::uint32_t counts(const Thread&, int t, int k) const {
        return count_list[t + k * kThreads];
    }
    DSNET_BLOCK double& mean(Thread&, int t, int k, int j) const { return mean_[at(t, k, j)]; }
    DSNET_BLOCK double& gain(Thread&, int t, int k, int j) const { return gain_[at(t, k, j)]; }
    DSNET_BLOCK double& r(Thread&, int t, int k, int j) const { return r_[at(t, k, j)]; }
    DSNET_BLOCK double& q(Thread&, int t, int k, int j) const { return q_[at(t, k, j)]; }
    DSNET_BLOCK float& relax(Thread&, int t, int k, int j) const { return relax_[at(t, k, j)]; }
    DSNET_BLOCK double& x(Thread&, int t, int k, int j) const { return x_[at(t, k, j)]; }
    DSNET_BLOCK double& b(int t, int k, int j) const { return b_[at(t, k, j)]; }
    DSNET_BLOCK double& before(int t, int k, int j) const { return before_[at(t, k, j)]; }

    double *p, *slope, *offset;
    float* grey;
    int* pixel_list;
    std::uint32_t *count_list, *window_list;

  private:
    DSNET_BLOCK static std::size_t at(int t, int k, int j) {
        return std::size_t(k * kStrip + j) * kThreads + std::size_t(t);
    }

    double *planes_, *mean_, *gain_, *r_, *q_, *x_, *b_, *before_;
    float *grey_, *relax_;
    std::size_t cells_;
};

// One block of so many threads solves an image.
constexpr int kSmallThreads = 512, kSmallSlots = 2;
constexpr int kLargeThreads = 512;
using SmallStore = RegisterStore<kSmallThreads, kSmallSlots>;
using LargeStore = MemoryStore<kLargeThreads>;

}  // namespace dsnet::matting_device
