// Images as all rooms see them: a view of a two-dimensional array, and a box in one.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dsnet {

// Pixels that an image has at most: they are numbered in 32 bits.
inline constexpr std::int64_t kMostPixels = 0x7fffffff;
// On a GPU, whose threads step beyond the last one, and number two planes' words at once.
inline constexpr std::int64_t kMostDevicePixels = std::int64_t{1} << 29;

// Not the owner of what it shows; columns are contiguous.
template <typename T>
struct Image {
    T* data;
    std::ptrdiff_t rows;
    std::ptrdiff_t cols;
    std::ptrdiff_t row_stride;  // elements, not bytes

    Image(T* data_, std::ptrdiff_t rows_, std::ptrdiff_t cols_)
        : Image(data_, rows_, cols_, cols_) {}
    Image(T* data_, std::ptrdiff_t rows_, std::ptrdiff_t cols_, std::ptrdiff_t row_stride_)
        : data(data_), rows(rows_), cols(cols_), row_stride(row_stride_) {}

    T* row(std::ptrdiff_t y) const { return data + y * row_stride; }
    std::ptrdiff_t size() const { return rows * cols; }
};

// Rows `top` to `bottom` and columns `left` to `right`, the latter excluded.
struct Box {
    std::ptrdiff_t top = 0, left = 0, bottom = 0, right = 0;

    std::ptrdiff_t rows() const { return bottom - top; }
    std::ptrdiff_t cols() const { return right - left; }
    bool empty() const { return bottom <= top; }
};

}  // namespace dsnet
