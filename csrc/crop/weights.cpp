#include "crop/weights.h"

#include <algorithm>
#include <cmath>

namespace dsnet {
namespace {

// Of what fits into 63 bits. The library's are calls where no vector unit is asked for.
std::ptrdiff_t floor_of(double value) {
    const auto cut = static_cast<std::ptrdiff_t>(value);
    return cut - (static_cast<double>(cut) > value);
}
std::ptrdiff_t ceil_of(double value) { return -floor_of(-value); }

std::ptrdiff_t within(std::ptrdiff_t pixel, std::ptrdiff_t length) {
    return std::clamp<std::ptrdiff_t>(pixel, 0, length - 1);
}

double edge_of(const CropAxis& axis, std::ptrdiff_t i) {
    return axis.offset + static_cast<double>(i) / axis.scale;
}

// A pixel of the crop, in pixels of the image.
struct Covered {
    double low, high;

    double centre() const { return 0.5 * (high + low) - 0.5; }
};

// The pixels that it is made of, of an image without borders.
SourceSpan unbound(const Covered& pixel, bool shrunk) {
    if (shrunk) return {floor_of(pixel.low), ceil_of(pixel.high)};
    const std::ptrdiff_t first = floor_of(pixel.centre());
    return {first, first + 2};
}

}  // namespace

SourceSpan source_span(const CropAxis& axis) {
    const bool shrunk = axis.scale <= 1.0;
    const auto span = [&](std::ptrdiff_t i) {
        return unbound({edge_of(axis, i), edge_of(axis, i + 1)}, shrunk);
    };
    return {within(span(0).first, axis.length),
            within(span(axis.size - 1).last - 1, axis.length) + 1};
}

Weights::Weights(const CropAxis& axis) : span(source_span(axis)) {
    const auto size = static_cast<std::size_t>(axis.size);
    const bool shrunk = axis.scale <= 1.0;
    first.resize(size);
    count.resize(size);
    struct Of {
        Covered covered;
        SourceSpan pixels;
    };
    std::vector<Of> made(size);
    double edge = edge_of(axis, 0);
    for (std::size_t i = 0; i < size; ++i) {
        const double low = edge;
        edge = edge_of(axis, static_cast<std::ptrdiff_t>(i) + 1);
        made[i].covered = {low, edge};
        const SourceSpan pixels = made[i].pixels = unbound(made[i].covered, shrunk);
        const std::ptrdiff_t begin = within(pixels.first, axis.length);
        const std::ptrdiff_t end = within(pixels.last - 1, axis.length) + 1;
        first[i] = static_cast<std::int32_t>(begin - span.first);
        count[i] = static_cast<std::int32_t>(std::max<std::ptrdiff_t>(end - begin, 0));
        most = std::max<std::ptrdiff_t>(most, count[i]);
    }
    values.resize(size * static_cast<std::size_t>(most));
    for (std::size_t i = 0; i < size; ++i) {
        const Covered covered = made[i].covered;
        const SourceSpan pixels = made[i].pixels;
        const double centre = covered.centre(), scale = axis.scale;
        double* of_pixel = values.data() + i * static_cast<std::size_t>(most);
        const auto weight_of = [=](std::ptrdiff_t pixel) {
            const auto at = static_cast<double>(pixel);
            if (!shrunk) return std::max(1.0 - std::abs(centre - at), 0.0);
            return std::max(std::min(covered.high, at + 1.0) - std::max(covered.low, at), 0.0) *
                   scale;
        };
        if (pixels.first >= 0 && pixels.last <= axis.length) {
            for (std::ptrdiff_t pixel = pixels.first; pixel < pixels.last; ++pixel)
                *of_pixel++ = weight_of(pixel);
            continue;
        }
        for (std::ptrdiff_t pixel = pixels.first; pixel < pixels.last; ++pixel) {
            const bool inside = pixel >= 0 && pixel < axis.length;
            of_pixel[within(pixel, axis.length) - span.first - first[i]] +=
                inside ? weight_of(pixel) : weight_of(pixel) * axis.beyond;
        }
    }
}

}  // namespace dsnet
