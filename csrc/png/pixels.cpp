#include "png/pixels.h"

#include <algorithm>
#include <vector>

#include "png/simd.h"

namespace dsnet {
namespace {

template <typename Pixel, typename Undo>
std::ptrdiff_t undo(const FilteredRows& filtered, const Image<Pixel>& pixels, Undo undo_group) {
    const std::ptrdiff_t stride = 1 + filtered.width * static_cast<std::ptrdiff_t>(sizeof(Pixel));
    const std::vector<Pixel> nothing(static_cast<std::size_t>(pixels.cols) + 1);
    std::vector<Pixel> workspace(
        static_cast<std::size_t>((kPngGroup + 1) * (pixels.cols + 2 * kPngMargin)));
    for (std::ptrdiff_t y = 0; y < pixels.rows; y += kPngGroup) {
        PngGroup<Pixel> group;
        group.filtered = filtered.data + y * stride;
        group.filtered_stride = stride;
        group.pixels = pixels.row(y);
        group.stride = pixels.row_stride;
        group.rows = std::min(kPngGroup, pixels.rows - y);
        group.cols = pixels.cols;
        group.above = y > 0 ? pixels.row(y - 1) : nothing.data();
        group.workspace = workspace.data();
        for (std::ptrdiff_t row = 0; row < group.rows; ++row)
            if (group.filtered[row * stride] >= kPngFilters) return y + row;
        undo_group(group);
    }
    return -1;
}

}  // namespace

std::ptrdiff_t undo_filters(const FilteredRows& filtered, Image<std::uint8_t> pixels) {
    return undo(filtered, pixels, png_simd().undo_8);
}

std::ptrdiff_t undo_filters(const FilteredRows& filtered, Image<std::uint16_t> pixels,
                            std::uint16_t& least) {
    const PngSimd& simd = png_simd();
    least = 0;
    return undo(filtered, pixels, [&](const PngGroup<std::uint16_t>& group) {
        simd.undo_16(group);
        for (std::ptrdiff_t row = 0; row < group.rows; ++row)
            least = simd.least_16(group.pixels + row * group.stride, group.cols, least);
    });
}

}  // namespace dsnet
