// Hot loops on masks packed 64 pixels to a word.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/image.h"
#include "base/vector_unit.h"
#include "masks/bits.h"

namespace dsnet {

struct MasksSimd {
    // Pixels that are not zero, at least `level`, or nearer to zero than `level`. `stride`: of the
    // image, in elements. Bits beyond the last column of pixels are cleared.
    void (*pack)(const std::uint8_t* image, std::ptrdiff_t stride, const BitPlane& plane);
    void (*pack_at_least)(const float* image, std::ptrdiff_t stride, float level,
                          const BitPlane& plane);
    void (*pack_near_zero)(const float* image, std::ptrdiff_t stride, float level,
                           const BitPlane& plane);
    // image = inside where `inner` is set, else outside where `outer` is set, else 0.
    void (*unpack)(const BitPlane& inner, const BitPlane& outer, std::uint8_t inside,
                   std::uint8_t outside, std::uint8_t* image, std::ptrdiff_t stride);
    // The smallest box that holds all set pixels; empty where there are none.
    Box (*bounds)(const BitPlane& plane);
    // The part of a plane that begins at (top, left) and has the size of `part`.
    void (*crop)(const BitPlane& plane, std::ptrdiff_t top, std::ptrdiff_t left,
                 const BitPlane& part);
    // The reverse: sets a plane's pixels in a larger one, from (top, left) on.
    void (*place)(const BitPlane& part, std::ptrdiff_t top, std::ptrdiff_t left,
                  const BitPlane& plane);
    std::int64_t (*count)(const BitPlane& plane);
    // out = the pixels that `plane` leaves unset.
    void (*complement)(const BitPlane& plane, const BitPlane& out);
    // out = a where b is not set; out may be a.
    void (*without)(const BitPlane& a, const BitPlane& b, const BitPlane& out);

    // Dilation by a structuring element whose rows are chords: of half_width[k] pixels to either
    // side, k rows above and below the centre, k = 0 .. reach, never longer with growing k. All
    // planes share a stride that is a multiple of kLanes and at least rows + reach, with one
    // stride of words in front of and behind `source` and `scratch`; there and from rows on
    // `source` is zero. `out` may be written there.
    void (*dilate)(const BitPlane& source, const std::int32_t* half_width, std::ptrdiff_t reach,
                   std::uint64_t* const scratch[2], std::uint64_t* out);

    // Pixels of a plane with a neighbour, of four, that is not set; beyond the plane nothing is.
    std::int64_t (*count_outline)(const BitPlane& plane);
    std::int64_t (*count_equal)(const std::uint8_t* image, std::ptrdiff_t stride,
                                std::ptrdiff_t rows, std::ptrdiff_t cols, std::uint8_t value);
    // Sums of (grey - center)^power, power 1 or 2, over a plane's pixels. The image's element of
    // the plane's first pixel is `image`.
    double (*sum)(const float* image, std::ptrdiff_t stride, const BitPlane& plane, double center,
                  int power);

    // Rows from each pixel to the nearest zero of its own column, where the rows above and below
    // the image are zero; and the largest in each row.
    void (*column_steps)(const std::uint8_t* image, std::ptrdiff_t stride, std::ptrdiff_t rows,
                         std::ptrdiff_t cols, std::int32_t* steps, std::int32_t* row_largest);
};

DSNET_VECTOR_TABLE(MasksSimd, masks_simd)

}  // namespace dsnet
