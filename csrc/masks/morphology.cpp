// Rows are packed 64 pixels to a word, and a disc is a union of chords: each row is widened to one
// chord's length after the other by shifts, and joined with the rows that see it at that length.
//
// The other way, comparing exact distance transforms with the radii, costs the same for any radius.
// On one core of an AMD EPYC with AVX-512 both cost alike at a radius of 800 to 1100 pixels (at
// 1024 x 1024 and 4096 x 4096; at 256 x 256 packed rows win at any radius), and at 100 pixels
// packed rows take a tenth. Lesions are smaller: there is no switch.
#include "masks/morphology.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "masks/simd.h"

namespace dsnet {
namespace {

std::ptrdiff_t padded(std::ptrdiff_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

void clear(Image<std::uint8_t> image) {
    for (std::ptrdiff_t y = 0; y < image.rows; ++y)
        std::memset(image.row(y), 0, static_cast<std::size_t>(image.cols));
}

// Plane `index` of workspace.planes gets the mask inside the window.
BitPlane cropped(const Box& window, MorphologyWorkspace& workspace, int index) {
    const BitPlane part = workspace.planes.plane(index);
    masks_simd().crop(workspace.whole.plane(0), window.top, window.left, part);
    return part;
}

void unpack(const BitPlane& inner, const BitPlane& outer, std::uint8_t inside, std::uint8_t outside,
            const Box& window, Image<std::uint8_t> out) {
    masks_simd().unpack(inner, outer, inside, outside, out.row(window.top) + window.left,
                        out.row_stride);
}

}  // namespace

void make_disc(double radius, Spacing spacing, std::ptrdiff_t rows, std::ptrdiff_t cols,
               StructuringElement& element) {
    const double most = radius * radius;
    // As `distance_squared` computes a distance, so that both agree on where the border runs.
    const auto inside = [&](std::ptrdiff_t down, std::ptrdiff_t right) {
        const double along = static_cast<double>(down) * spacing.row;
        const double across = static_cast<double>(right) * spacing.column;
        return along * along + across * across <= most;
    };
    element.half_width.clear();
    for (std::ptrdiff_t down = 0; down < std::max<std::ptrdiff_t>(rows, 1); ++down) {
        if (!inside(down, 0)) break;
        const double along = static_cast<double>(down) * spacing.row;
        const double chord = std::sqrt(std::max(most - along * along, 0.0)) / spacing.column;
        const auto widest = std::max<std::ptrdiff_t>(cols - 1, 0);
        auto width = static_cast<std::ptrdiff_t>(
            chord < static_cast<double>(widest) ? chord : static_cast<double>(widest));
        while (width < widest && inside(down, width + 1)) ++width;
        while (width > 0 && !inside(down, width)) --width;
        element.half_width.push_back(static_cast<std::int32_t>(width));
    }
}

void make_opencv_ellipse(std::ptrdiff_t half_height, std::ptrdiff_t half_width, std::ptrdiff_t rows,
                         std::ptrdiff_t cols, StructuringElement& element) {
    const auto height = static_cast<double>(half_height), width = static_cast<double>(half_width);
    const double scale = half_height > 0 ? 1.0 / (height * height) : 0.0;
    const std::ptrdiff_t reach = std::clamp<std::ptrdiff_t>(rows - 1, 0, half_height);
    const auto widest = static_cast<double>(std::max<std::ptrdiff_t>(cols - 1, 0));
    element.half_width.clear();
    for (std::ptrdiff_t down = 0; down <= reach; ++down) {
        const double share = (height * height - static_cast<double>(down * down)) * scale;
        // Half a pixel rounds to the even one.
        const double chord = std::nearbyint(width * std::sqrt(share));
        element.half_width.push_back(static_cast<std::int32_t>(std::min(chord, widest)));
    }
}

void BitPlanes::shape(std::ptrdiff_t rows, std::ptrdiff_t cols, std::ptrdiff_t reach, int count) {
    rows_ = rows;
    cols_ = cols;
    stride_ = padded(rows + reach);
    const auto words = static_cast<std::size_t>(((cols + 63) / 64 + 2) * stride_ * count);
    words_.resize(std::max(words_.size(), words));
    std::fill_n(words_.begin(), words, 0);
}

BitPlane BitPlanes::plane(int index) {
    const BitPlane shape{nullptr, stride_, rows_, cols_};
    return {words_.data() + ((shape.columns() + 2) * index + 1) * stride_, stride_, rows_, cols_};
}

Box pack_mask(Image<const std::uint8_t> mask, MorphologyWorkspace& workspace) {
    workspace.whole.shape(mask.rows, mask.cols, 0, 1);
    const BitPlane whole = workspace.whole.plane(0);
    masks_simd().pack(mask.data, mask.row_stride, whole);
    return masks_simd().bounds(whole);
}

Box grown(const Box& box, std::ptrdiff_t rows, std::ptrdiff_t cols,
          Image<const std::uint8_t> mask) {
    return {std::max<std::ptrdiff_t>(box.top - rows, 0),
            std::max<std::ptrdiff_t>(box.left - cols, 0), std::min(box.bottom + rows, mask.rows),
            std::min(box.right + cols, mask.cols)};
}

void dilate(const BitPlane& source, const StructuringElement& element, const BitPlane& out,
            MorphologyWorkspace& workspace) {
    const std::ptrdiff_t words = (source.columns() + 2) * source.stride;
    workspace.scratch.resize(
        std::max(workspace.scratch.size(), static_cast<std::size_t>(2 * words)));
    std::uint64_t* first = workspace.scratch.data() + source.stride;
    std::uint64_t* const scratch[2] = {first, first + words};
    masks_simd().dilate(source, element.half_width.data(), element.reach_rows(), scratch,
                        out.words);
}

void erode(const BitPlane& source, const StructuringElement& element, const BitPlane& rest,
           const BitPlane& out, MorphologyWorkspace& workspace) {
    masks_simd().complement(source, rest);
    dilate(rest, element, out, workspace);
    masks_simd().without(source, out, out);
}

void erode(Image<const std::uint8_t> mask, const StructuringElement& element,
           MorphologyWorkspace& workspace, Image<std::uint8_t> out) {
    const Box box = pack_mask(mask, workspace);
    clear(out);
    if (box.empty()) return;
    // One row and column of what lies around the mask erodes as all of it would.
    const Box window = grown(box, 1, 1, mask);
    workspace.planes.shape(window.rows(), window.cols(), element.reach_rows(), 3);
    const BitPlane inner = workspace.planes.plane(1);
    erode(cropped(window, workspace, 0), element, workspace.planes.plane(2), inner, workspace);
    unpack(inner, inner, 1, 1, window, out);
}

void dilate(Image<const std::uint8_t> mask, const StructuringElement& element,
            MorphologyWorkspace& workspace, Image<std::uint8_t> out) {
    const Box box = pack_mask(mask, workspace);
    clear(out);
    if (box.empty()) return;
    const Box window = grown(box, element.reach_rows(), element.reach_cols(), mask);
    workspace.planes.shape(window.rows(), window.cols(), element.reach_rows(), 2);
    const BitPlane outer = workspace.planes.plane(1);
    dilate(cropped(window, workspace, 0), element, outer, workspace);
    unpack(outer, outer, 1, 1, window, out);
}

void split_mask(Image<const std::uint8_t> mask, double erosion, double dilation, Spacing spacing,
                std::uint8_t inside, std::uint8_t between, MorphologyWorkspace& workspace,
                Image<std::uint8_t> out) {
    const Box box = pack_mask(mask, workspace);
    clear(out);
    if (box.empty()) return;
    StructuringElement& outward = workspace.dilation;
    StructuringElement& inward = workspace.erosion;
    make_disc(dilation, spacing, mask.rows, mask.cols, outward);
    const Box window = grown(box, std::max<std::ptrdiff_t>(outward.reach_rows(), 1),
                             std::max<std::ptrdiff_t>(outward.reach_cols(), 1), mask);
    make_disc(erosion, spacing, window.rows(), window.cols(), inward);
    workspace.planes.shape(window.rows(), window.cols(),
                           std::max(inward.reach_rows(), outward.reach_rows()), 4);
    const BitPlane whole = cropped(window, workspace, 0);
    const BitPlane inner = workspace.planes.plane(1), outer = workspace.planes.plane(2);
    dilate(whole, outward, outer, workspace);
    erode(whole, inward, workspace.planes.plane(3), inner, workspace);
    unpack(inner, outer, inside, between, window, out);
}

}  // namespace dsnet
