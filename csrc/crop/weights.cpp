#include "crop/weights.h"

#include <algorithm>
#include <cmath>

namespace dsnet {
namespace {

double edge_of(const CropAxis& axis, std::ptrdiff_t i) {
    return axis.offset + static_cast<double>(i) / axis.scale;
}

double centre_of(const CropAxis& axis, std::ptrdiff_t i) {
    return 0.5 * (edge_of(axis, i + 1) + edge_of(axis, i)) - 0.5;
}

std::ptrdiff_t floor_of(double value) { return static_cast<std::ptrdiff_t>(std::floor(value)); }
std::ptrdiff_t ceil_of(double value) { return static_cast<std::ptrdiff_t>(std::ceil(value)); }

std::ptrdiff_t within(std::ptrdiff_t pixel, std::ptrdiff_t length) {
    return std::clamp<std::ptrdiff_t>(pixel, 0, length - 1);
}

// Pixels of an image without borders that pixel `i` of the crop is made of.
SourceSpan unbound(const CropAxis& axis, std::ptrdiff_t i) {
    if (axis.scale <= 1.0) return {floor_of(edge_of(axis, i)), ceil_of(edge_of(axis, i + 1))};
    const std::ptrdiff_t first = floor_of(centre_of(axis, i));
    return {first, first + 2};
}

}  // namespace

SourceSpan source_span(const CropAxis& axis) {
    const std::ptrdiff_t first = unbound(axis, 0).first;
    const std::ptrdiff_t last = unbound(axis, axis.size - 1).last - 1;
    return {within(first, axis.length), within(last, axis.length) + 1};
}

Weights::Weights(const CropAxis& axis) : span_(source_span(axis)) {
    bands_.reserve(static_cast<std::size_t>(axis.size));
    values_.reserve(static_cast<std::size_t>(2 * axis.size + span_.last - span_.first));
    for (std::ptrdiff_t i = 0; i < axis.size; ++i) {
        const SourceSpan pixels = unbound(axis, i);
        const std::ptrdiff_t first = within(pixels.first, axis.length);
        const std::ptrdiff_t count =
            std::max<std::ptrdiff_t>(within(pixels.last - 1, axis.length) - first + 1, 0);
        const std::size_t begin = values_.size();
        bands_.push_back({first - span_.first, count, static_cast<std::ptrdiff_t>(begin)});
        values_.resize(begin + static_cast<std::size_t>(count));
        double* weights = values_.data() + begin;
        const double low = edge_of(axis, i), high = edge_of(axis, i + 1);
        const double centre = centre_of(axis, i);
        for (std::ptrdiff_t pixel = pixels.first; pixel < pixels.last; ++pixel) {
            const auto at = static_cast<double>(pixel);
            double weight;
            if (axis.scale <= 1.0)
                weight = std::max(std::min(high, at + 1.0) - std::max(low, at), 0.0) * axis.scale;
            else
                weight = std::max(1.0 - std::abs(centre - at), 0.0);
            const bool outside = pixel < 0 || pixel >= axis.length;
            weights[within(pixel, axis.length) - first] += outside ? weight * axis.beyond : weight;
        }
    }
}

}  // namespace dsnet
