// A non-owning view of a two-dimensional array whose columns are contiguous.
#pragma once

#include <cstddef>

namespace dsnet {

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

}  // namespace dsnet
