#include "morphology.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace dsnet {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::int32_t kNone = std::numeric_limits<std::int32_t>::max();

// Steps from each pixel to the nearest site of its own column, kNone in a column without sites.
// Row by row, so that memory is read in order and the compiler can use vectors.
void column_steps(Image<const std::uint8_t> mask, bool to_zero, Image<std::int32_t> steps) {
    for (std::ptrdiff_t y = 0; y < mask.rows; ++y) {
        const std::uint8_t* sites = mask.row(y);
        const std::int32_t* above = y > 0 ? steps.row(y - 1) : nullptr;
        std::int32_t* here = steps.row(y);
        for (std::ptrdiff_t x = 0; x < mask.cols; ++x) {
            const std::int32_t from_above = above ? above[x] : kNone;
            const bool site = (sites[x] == 0) == to_zero;
            here[x] = site ? 0 : from_above == kNone ? kNone : from_above + 1;
        }
    }
    for (std::ptrdiff_t y = mask.rows - 2; y >= 0; --y) {
        const std::int32_t* below = steps.row(y + 1);
        std::int32_t* here = steps.row(y);
        for (std::ptrdiff_t x = 0; x < mask.cols; ++x) {
            const std::int32_t from_below = below[x] == kNone ? kNone : below[x] + 1;
            here[x] = std::min(here[x], from_below);
        }
    }
}

// One parabola of a row's lower envelope (Felzenszwalb and Huttenlocher, "Distance Transforms of
// Sampled Functions", 2012, section 2): height + (x - apex)^2, lowest from `start` on.
struct Parabola {
    double apex;
    double height;
    double start;
    double squared;  // the height again, in squared units of spacing
};

// Lower envelope of a row's column distances, then its values. Positions are counted in columns,
// heights in squared columns: with equal spacings all numbers but the crossings are whole, and the
// result is exact. False if no column of the image has a site.
bool row_distances(const std::int32_t* steps, std::ptrdiff_t cols, Spacing spacing,
                   std::vector<Parabola>& envelope, double* out) {
    const double aspect = spacing.row / spacing.column;
    envelope.clear();
    for (std::ptrdiff_t x = 0; x < cols; ++x) {
        if (steps[x] == kNone) continue;
        const double step = static_cast<double>(steps[x]);
        const double apex = static_cast<double>(x);
        const double height = (step * aspect) * (step * aspect);
        double start = -kInfinity;
        while (!envelope.empty()) {
            const Parabola& last = envelope.back();
            start = 0.5 * (apex + last.apex + (height - last.height) / (apex - last.apex));
            if (start > last.start) break;
            envelope.pop_back();
            start = -kInfinity;
        }
        const double along = step * spacing.row;
        envelope.push_back({apex, height, start, along * along});
    }
    if (envelope.empty()) return false;
    std::size_t current = 0;
    for (std::ptrdiff_t x = 0; x < cols; ++x) {
        const double position = static_cast<double>(x);
        while (current + 1 < envelope.size() && envelope[current + 1].start <= position) ++current;
        const double across = (position - envelope[current].apex) * spacing.column;
        out[x] = envelope[current].squared + across * across;
    }
    return true;
}

}  // namespace

void distance_squared(Image<const std::uint8_t> mask, bool to_zero, Spacing spacing,
                      Image<double> out) {
    if (mask.size() == 0) return;
    std::vector<std::int32_t> buffer(static_cast<std::size_t>(mask.size()));
    const Image<std::int32_t> steps(buffer.data(), mask.rows, mask.cols);
    column_steps(mask, to_zero, steps);
    std::vector<Parabola> envelope;
    envelope.reserve(static_cast<std::size_t>(mask.cols));
    for (std::ptrdiff_t y = 0; y < mask.rows; ++y) {
        if (!row_distances(steps.row(y), mask.cols, spacing, envelope, out.row(y)))
            std::fill_n(out.row(y), mask.cols, kInfinity);
    }
}

void split_trimap(Image<const std::uint8_t> mask, double erosion, double dilation, Spacing spacing,
                  Image<std::uint8_t> out) {
    std::vector<double> buffer(static_cast<std::size_t>(mask.size()));
    const Image<double> distance(buffer.data(), mask.rows, mask.cols);
    distance_squared(mask, true, spacing, distance);
    for (std::ptrdiff_t y = 0; y < mask.rows; ++y)
        for (std::ptrdiff_t x = 0; x < mask.cols; ++x)
            out.row(y)[x] = distance.row(y)[x] > erosion * erosion ? kForeground : kUnknown;
    distance_squared(mask, false, spacing, distance);
    for (std::ptrdiff_t y = 0; y < mask.rows; ++y)
        for (std::ptrdiff_t x = 0; x < mask.cols; ++x)
            if (distance.row(y)[x] > dilation * dilation) out.row(y)[x] = kBackground;
}

}  // namespace dsnet
