// What a solve takes from an image, its trimap and its prior, and what it gives back.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/image.h"
#include "base/lanes.h"
#include "base/vector_unit.h"

namespace dsnet {

// Pixels of a trimap.
struct PixelCounts {
    std::int64_t background = 0, foreground = 0, unknown = 0;
};

// Planes' rows and columns begin at this pixel of the image; it may lie outside by one.
struct PlaneOrigin {
    std::ptrdiff_t row, col, stride;
};

struct PlanesSimd {
    // Where the trimap is unknown, a bit a pixel: of each row so many words.
    PixelCounts (*count)(const Image<const std::uint8_t>& trimap, std::ptrdiff_t words,
                         std::uint64_t* unknown);
    // 1 and 0 where the trimap knows, `open` elsewhere.
    void (*write_known)(const Image<const std::uint8_t>& trimap, float open,
                        const Image<float>& alpha);
    // Grey values, and 1 where the trimap is foreground; 0 outside the image.
    void (*fill_around)(const Runs& around, const PlaneOrigin& origin,
                        const Image<const float>& image, const Image<const std::uint8_t>& trimap,
                        float* grey, float* known);
    // How many windows there are around an unknown pixel, else 0, and the prior, which may be
    // without data; 0 outside the image.
    void (*fill_pixels)(const Runs& pixels, const PlaneOrigin& origin,
                        const Image<const std::uint8_t>& trimap, const Image<const float>& prior,
                        float* count, float* toward);
    // Alpha = x norm, within 0..1, where there is a count.
    void (*write_solved)(const Runs& pixels, const PlaneOrigin& origin, const double* x,
                         const float* count, double norm, const Image<float>& alpha);
    // Zeros on runs.
    void (*clear_float)(const Runs& runs, std::ptrdiff_t stride, float* plane);
    void (*clear_double)(const Runs& runs, std::ptrdiff_t stride, double* plane);
};

DSNET_VECTOR_TABLE(PlanesSimd, planes_simd)

}  // namespace dsnet
