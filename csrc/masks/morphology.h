// Masks, packed 64 pixels to a word: their erosion and dilation; distances and connected parts are
// beside it.
//
// Beyond the image's border nothing is assumed: it neither erodes nor dilates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/image.h"
#include "masks/bits.h"

namespace dsnet {

// A structuring element that is symmetric to its rows and columns, as chords: of half_width[k]
// pixels to either side of the centre, k rows above and below it, never longer with growing k.
struct StructuringElement {
    std::vector<std::int32_t> half_width;

    std::ptrdiff_t reach_rows() const { return static_cast<std::ptrdiff_t>(half_width.size()) - 1; }
    std::ptrdiff_t reach_cols() const { return half_width[0]; }
};

// Pixels whose centres lie within `radius`, as far as an image of rows x cols pixels can tell.
void make_disc(double radius, Spacing spacing, std::ptrdiff_t rows, std::ptrdiff_t cols,
               StructuringElement& element);

// OpenCV's getStructuringElement(MORPH_ELLIPSE) of 2 * half_height + 1 rows and 2 * half_width + 1
// columns.
void make_opencv_ellipse(std::ptrdiff_t half_height, std::ptrdiff_t half_width, std::ptrdiff_t rows,
                         std::ptrdiff_t cols, StructuringElement& element);

// Planes of one shape, zero where nothing was written, apart enough for `dilate`.
class BitPlanes {
  public:
    void shape(std::ptrdiff_t rows, std::ptrdiff_t cols, std::ptrdiff_t reach, int count);
    BitPlane plane(int index);

  private:
    std::vector<std::uint64_t> words_;
    std::ptrdiff_t rows_ = 0, cols_ = 0, stride_ = 0;
};

// Buffers that are reused from call to call and only grow; one for each thread.
struct MorphologyWorkspace {
    BitPlanes whole;  // the image
    BitPlanes planes;
    std::vector<std::uint64_t> scratch;
    StructuringElement erosion, dilation;
};

// The image's mask as plane 0 of workspace.whole, and the box around it.
Box pack_mask(Image<const std::uint8_t> mask, MorphologyWorkspace& workspace);
Box grown(const Box& box, std::ptrdiff_t rows, std::ptrdiff_t cols, Image<const std::uint8_t> mask);
// `source` is one of workspace.planes; out too.
void dilate(const BitPlane& source, const StructuringElement& element, const BitPlane& out,
            MorphologyWorkspace& workspace);
// out = source less its erosion's complement; `rest` is overwritten.
void erode(const BitPlane& source, const StructuringElement& element, const BitPlane& rest,
           const BitPlane& out, MorphologyWorkspace& workspace);

// 1 where the element around a pixel holds no pixel outside the mask (erosion) or some pixel of
// the mask (dilation), else 0. `out` may be the mask.
void erode(Image<const std::uint8_t> mask, const StructuringElement& element,
           MorphologyWorkspace& workspace, Image<std::uint8_t> out);
void dilate(Image<const std::uint8_t> mask, const StructuringElement& element,
            MorphologyWorkspace& workspace, Image<std::uint8_t> out);

// Erosion and dilation at once, by discs: `inside` where the nearest pixel outside the mask is
// farther than `erosion`, 0 where the nearest pixel of the mask is farther than `dilation`, else
// `between`.
void split_mask(Image<const std::uint8_t> mask, double erosion, double dilation, Spacing spacing,
                std::uint8_t inside, std::uint8_t between, MorphologyWorkspace& workspace,
                Image<std::uint8_t> out);

}  // namespace dsnet
