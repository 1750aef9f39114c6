#include "crop/pixels.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace dsnet {
namespace {

// Sums along a row, from a pixel on. Not `simd`: gathering vectors takes longer than the loads that
// it spares.
template <int Most>
void sum_along(const double* values, const Weights& columns, double* sums, std::ptrdiff_t begin) {
    const std::ptrdiff_t most = Most > 0 ? Most : columns.most;
    const auto size = static_cast<std::ptrdiff_t>(columns.first.size());
    const double* weights = columns.values.data() + begin * most;
    for (std::ptrdiff_t i = begin; i < size; ++i, weights += most) {
        const double* from = values + columns.first[static_cast<std::size_t>(i)];
        double sum = 0.0;
        for (std::ptrdiff_t k = 0; k < most; ++k) sum += weights[k] * from[k];
        sums[i] = sum;
    }
}

void sum_along(const double* values, const Weights& columns, double* sums, std::ptrdiff_t begin) {
    switch (columns.most) {
        case 1: return sum_along<1>(values, columns, sums, begin);
        case 2: return sum_along<2>(values, columns, sums, begin);
        case 3: return sum_along<3>(values, columns, sums, begin);
        case 4: return sum_along<4>(values, columns, sums, begin);
        default: return sum_along<0>(values, columns, sums, begin);
    }
}

// That the widest unit takes at a time.
constexpr std::ptrdiff_t kBlendColumns = 32;
static_assert(kBlendColumns <= kBeyond, "sums have room for them");

// Rows of a crop that is resampled, one by one; blend(first row of the span, weights, how many,
// sums) sums up rows of the image, done(i, row) takes the result.
template <typename Blend, typename Done>
void each_row(const Weights& rows, const Weights& columns, Blend blend, Done done) {
    const auto size = columns.first.size();
    const auto most = static_cast<std::size_t>(columns.most);
    const auto by_vectors = crop_simd().sum_along;
    std::vector<double> along(by_vectors != nullptr ? most * size : 0);
    for (std::size_t i = 0; i < size && by_vectors != nullptr; ++i)
        for (std::size_t k = 0; k < most; ++k) along[k * size + i] = columns.values[i * most + k];
    // Beyond the last pixel there are zeros, for weights of 0.
    std::vector<double> sums(
        static_cast<std::size_t>(columns.span.count() + columns.most + kBeyond));
    std::vector<double> row(size);
    for (std::size_t i = 0; i < rows.first.size(); ++i) {
        const double* down = rows.values.data() + i * static_cast<std::size_t>(rows.most);
        blend(rows.first[i], down, rows.count[i], sums.data());
        std::ptrdiff_t summed = 0;
        if (by_vectors != nullptr)
            summed = by_vectors(sums.data(), columns.first.data(), along.data(), columns.most,
                                row.data(), static_cast<std::ptrdiff_t>(size));
        sum_along(sums.data(), columns, row.data(), summed);
        done(static_cast<std::ptrdiff_t>(i), row.data());
    }
}

bool is_copy(const CropAxis& axis) {
    return axis.scale == 1.0 && axis.offset == std::floor(axis.offset);
}

// Pixels `begin` to `begin + count` of an axis of a crop whose pixels are copied are those of its
// span; the others go on as its edges.
struct Copied {
    Copied(const CropAxis& axis, const SourceSpan& source)
        : begin(std::clamp<std::ptrdiff_t>(source.first - static_cast<std::ptrdiff_t>(axis.offset),
                                           0, axis.size - 1)),
          count(source.count()) {}

    std::ptrdiff_t begin, count;
};

void show_copied(const Image<const std::uint16_t>& codes, const CropAxis& rows,
                 const CropAxis& columns, const HuWindow& window, const Image<float>& to) {
    const SourceSpan height = source_span(rows), width = source_span(columns);
    const Copied down(rows, height), along(columns, width);
    crop_simd().show(codes.row(height.first) + width.first, codes.row_stride, down.count,
                     along.count, window, to.row(down.begin) + along.begin, to.row_stride);
    const std::ptrdiff_t bottom = down.begin + down.count, right = along.begin + along.count;
    if (along.count < to.cols)
        for (std::ptrdiff_t y = down.begin; y < bottom; ++y) {
            float* row = to.row(y);
            std::fill(row, row + along.begin, row[along.begin]);
            std::fill(row + right, row + to.cols, row[right - 1]);
        }
    const auto repeat = [&](std::ptrdiff_t row, std::ptrdiff_t first, std::ptrdiff_t last) {
        for (std::ptrdiff_t y = first; y < last; ++y)
            std::copy(to.row(row), to.row(row) + to.cols, to.row(y));
    };
    repeat(down.begin, 0, down.begin);
    repeat(bottom - 1, bottom, to.rows);
}

}  // namespace

void resample(const Image<const double>& piece, const Weights& rows, const Weights& columns,
              const Image<double>& to) {
    const auto blend = [&](std::ptrdiff_t y, const double* weights, std::ptrdiff_t count,
                           double* sums) {
        crop_simd().blend_values(piece.row(y), piece.row_stride, weights, count, sums, piece.cols);
    };
    each_row(rows, columns, blend, [&](std::ptrdiff_t y, const double* row) {
        std::copy(row, row + to.cols, to.row(y));
    });
}

void show_codes(const Image<const std::uint16_t>& codes, const CropAxis& rows,
                const CropAxis& columns, const HuWindow& window, const Image<float>& to) {
    if (is_copy(rows) && is_copy(columns)) return show_copied(codes, rows, columns, window, to);
    const Weights down(rows), along(columns);
    // Whole vectors where the image has the columns: what is beyond the span has weights of 0.
    const std::ptrdiff_t width =
        std::min(along.span.count() + (-along.span.count() & (kBlendColumns - 1)),
                 codes.cols - along.span.first);
    const auto blend = [&](std::ptrdiff_t y, const double* weights, std::ptrdiff_t count,
                           double* sums) {
        const std::uint16_t* from = codes.row(down.span.first + y) + along.span.first;
        crop_simd().blend_codes(from, codes.row_stride, weights, count, window.offset, sums, width);
    };
    each_row(down, along, blend, [&](std::ptrdiff_t y, const double* row) {
        crop_simd().windowed(row, to.cols, window.low, window.high, to.row(y));
    });
}

Counted count_below(const Image<const std::uint16_t>& codes, const Box& box, std::int32_t level) {
    const std::ptrdiff_t bottom = std::min(box.bottom, codes.rows);
    const std::ptrdiff_t right = std::min(box.right, codes.cols);
    if (box.top >= bottom || box.left >= right) return {};
    const std::ptrdiff_t rows = bottom - box.top, cols = right - box.left;
    return {crop_simd().below(codes.row(box.top) + box.left, codes.row_stride, rows, cols, level),
            rows * cols};
}

}  // namespace dsnet
