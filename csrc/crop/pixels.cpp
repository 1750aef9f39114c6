#include "crop/pixels.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "crop/simd.h"

namespace dsnet {
namespace {

// Calls done(i, row) with each row of the crop; add(pixel of the span, weight, sums) adds a row of
// the image.
template <typename Add, typename Done>
void each_row(const Weights& rows, const Weights& columns, Add add, Done done) {
    const SourceSpan span = columns.span();
    std::vector<double> sums(static_cast<std::size_t>(span.last - span.first));
    std::vector<double> row(static_cast<std::size_t>(columns.size()));
    for (std::ptrdiff_t i = 0; i < rows.size(); ++i) {
        std::fill(sums.begin(), sums.end(), 0.0);
        const Weights::Pixel down = rows[i];
        for (std::ptrdiff_t k = 0; k < down.count; ++k)
            add(down.first + k, down.weights[k], sums.data());
        for (std::ptrdiff_t j = 0; j < columns.size(); ++j) {
            const Weights::Pixel along = columns[j];
            const double* from = sums.data() + along.first;
            double sum = 0.0;
            for (std::ptrdiff_t k = 0; k < along.count; ++k) sum += along.weights[k] * from[k];
            row[static_cast<std::size_t>(j)] = sum;
        }
        done(i, row.data());
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
    const CropSimd& simd = crop_simd();
    const auto add = [&](std::ptrdiff_t y, double weight, double* sums) {
        simd.add_values(piece.row(y), piece.cols, weight, sums);
    };
    each_row(rows, columns, add, [&](std::ptrdiff_t y, const double* row) {
        std::copy(row, row + to.cols, to.row(y));
    });
}

void show_codes(const Image<const std::uint16_t>& codes, const CropAxis& rows,
                const CropAxis& columns, const HuWindow& window, const Image<float>& to) {
    if (is_copy(rows) && is_copy(columns)) return show_copied(codes, rows, columns, window, to);
    const CropSimd& simd = crop_simd();
    const Weights down(rows), along(columns);
    const std::ptrdiff_t top = down.span().first, left = along.span().first;
    const std::ptrdiff_t count = along.span().last - left;
    const auto add = [&](std::ptrdiff_t y, double weight, double* sums) {
        simd.add_codes(codes.row(top + y) + left, count, window.offset, weight, sums);
    };
    each_row(down, along, add, [&](std::ptrdiff_t y, const double* row) {
        simd.windowed(row, to.cols, window.low, window.high, to.row(y));
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
