#include "crop/pixels.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "crop/simd.h"

namespace dsnet {
namespace {

// Sums along a row. Not `simd`: gathering vectors takes longer than the loads that it spares.
template <int Most>
void sum_along(const double* values, const Weights& columns, double* sums) {
    const std::ptrdiff_t most = Most > 0 ? Most : columns.most;
    const double* weights = columns.values.data();
    for (const std::int32_t first : columns.first) {
        const double* from = values + first;
        double sum = 0.0;
        for (std::ptrdiff_t k = 0; k < most; ++k) sum += weights[k] * from[k];
        weights += most;
        *sums++ = sum;
    }
}

void sum_along(const double* values, const Weights& columns, double* sums) {
    switch (columns.most) {
        case 1: return sum_along<1>(values, columns, sums);
        case 2: return sum_along<2>(values, columns, sums);
        case 3: return sum_along<3>(values, columns, sums);
        case 4: return sum_along<4>(values, columns, sums);
        default: return sum_along<0>(values, columns, sums);
    }
}

// Rows of a crop that is resampled, one by one; blend(first row of the span, weights, how many,
// sums) sums up rows of the image, done(i, row) takes the result.
template <typename Blend, typename Done>
void each_row(const Weights& rows, const Weights& columns, Blend blend, Done done) {
    // Beyond the last pixel there are zeros, for weights of 0.
    std::vector<double> sums(static_cast<std::size_t>(columns.span.count() + columns.most));
    std::vector<double> row(columns.first.size());
    for (std::size_t i = 0; i < rows.first.size(); ++i) {
        const double* down = rows.values.data() + i * static_cast<std::size_t>(rows.most);
        blend(rows.first[i], down, rows.count[i], sums.data());
        sum_along(sums.data(), columns, row.data());
        done(static_cast<std::ptrdiff_t>(i), row.data());
    }
}

bool is_copy(const CropAxis& axis) {
    return axis.scale == 1.0 && axis.offset == std::floor(axis.offset);
}

void show_copied(const Image<const std::uint16_t>& codes, const CropAxis& rows,
                 const CropAxis& columns, const HuWindow& window, const Image<float>& to) {
    const auto top = static_cast<std::ptrdiff_t>(rows.offset);
    const auto left = static_cast<std::ptrdiff_t>(columns.offset);
    const SourceSpan span = source_span(columns);
    for (std::ptrdiff_t y = 0; y < to.rows; ++y) {
        const std::uint16_t* from =
            codes.row(std::clamp<std::ptrdiff_t>(top + y, 0, rows.length - 1));
        float* row = to.row(y);
        // Columns of the image, then its edges' again on either side.
        const std::ptrdiff_t begin = std::clamp<std::ptrdiff_t>(span.first - left, 0, to.cols - 1);
        const std::ptrdiff_t count = span.last - span.first;
        codes_simd().windowed(from + span.first, count, window, row + begin);
        std::fill(row, row + begin, row[begin]);
        std::fill(row + begin + count, row + to.cols, row[begin + count - 1]);
    }
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
    const auto blend = [&](std::ptrdiff_t y, const double* weights, std::ptrdiff_t count,
                           double* sums) {
        const std::uint16_t* from = codes.row(down.span.first + y) + along.span.first;
        crop_simd().blend_codes(from, codes.row_stride, weights, count, window.offset, sums,
                                along.span.count());
    };
    each_row(down, along, blend, [&](std::ptrdiff_t y, const double* row) {
        crop_simd().windowed(row, to.cols, window.low, window.high, to.row(y));
    });
}

Counted count_below(const Image<const std::uint16_t>& codes, const Box& box, std::int32_t level) {
    const std::ptrdiff_t bottom = std::min(box.bottom, codes.rows);
    const std::ptrdiff_t right = std::min(box.right, codes.cols);
    Counted counted;
    if (box.left >= right) return counted;
    for (std::ptrdiff_t y = box.top; y < bottom; ++y) {
        counted.below += codes_simd().below(codes.row(y) + box.left, right - box.left, level);
        counted.pixels += right - box.left;
    }
    return counted;
}

}  // namespace dsnet
