#include "crop/plan.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "crop/weights.h"

namespace dsnet {
namespace {

// As dsnet.data.crop_plan has them, where their reasons stand.
constexpr double kLeastMargin = 8.0;
constexpr double kMarginShare = 0.25;
constexpr double kMostCropPixels = 1 << 24;
constexpr std::ptrdiff_t kLeastSize = 8;

struct Bounds {
    Point low, high;
};

Bounds bounds_of(const Point* ends, int count) {
    Bounds bounds = {ends[0], ends[0]};
    for (int k = 1; k < count; ++k) {
        bounds.low = {std::min(bounds.low.x, ends[k].x), std::min(bounds.low.y, ends[k].y)};
        bounds.high = {std::max(bounds.high.x, ends[k].x), std::max(bounds.high.y, ends[k].y)};
    }
    return bounds;
}

struct Ends {
    explicit Ends(const RecistMark& mark)
        : points{mark.long_axis[0], mark.long_axis[1], mark.short_axis[0], mark.short_axis[1]} {}
    Point points[4];
};

double length_of(const Point* axis) {
    return std::hypot(axis[1].x - axis[0].x, axis[1].y - axis[0].y);
}

// The end points on an image resized by `scale`: pixel edges stay on pixel edges.
bool resize(const double coordinates[8], Point scale, double resized[8]) {
    for (int k = 0; k < 8; k += 2) {
        resized[k] = (coordinates[k] + 0.5) * scale.x - 0.5;
        resized[k + 1] = (coordinates[k + 1] + 0.5) * scale.y - 0.5;
    }
    return are_usable(resized);
}

double first_pixel(double middle, std::ptrdiff_t size, double scale) {
    const double half = static_cast<double>(size) / 2;
    return scale == 1.0 ? std::nearbyint(middle - half) : middle - half / scale;
}

Box box_around(const Bounds& bounds, double margin) {
    const auto begin = [&](double at) {
        return std::max<std::ptrdiff_t>(static_cast<std::ptrdiff_t>(at - margin), 0);
    };
    const auto end = [&](double at) {
        return std::max<std::ptrdiff_t>(static_cast<std::ptrdiff_t>(at + margin) + 1, 0);
    };
    return {begin(bounds.low.y), begin(bounds.low.x), end(bounds.high.y), end(bounds.high.x)};
}

}  // namespace

bool plan_crop(const double coordinates[8], std::ptrdiff_t rows, std::ptrdiff_t cols,
               std::ptrdiff_t size, Point scale, double ring, CropPlan& plan) {
    const auto side = static_cast<double>(size);
    if (size < kLeastSize || side * side > kMostCropPixels || rows < 1 || cols < 1) return false;
    double resized[8];
    if (!are_usable(coordinates) || !resize(coordinates, scale, resized)) return false;

    const RecistMark mark = mark_as_given(coordinates);
    const Ends ends(mark);
    const Bounds bounds = bounds_of(ends.points, 4);
    const Bounds drawn = mark.short_known ? bounds : bounds_of(ends.points, 2);
    const auto height = static_cast<double>(rows), width = static_cast<double>(cols);
    if (drawn.high.x < -0.5 || drawn.high.y < -0.5 || drawn.low.x > width - 0.5 ||
        drawn.low.y > height - 0.5)
        return false;
    const double spanned = std::max(bounds.high.x - bounds.low.x, bounds.high.y - bounds.low.y);
    if (!(spanned <= side + std::hypot(height, width))) return false;

    const RecistMark shown = mark_as_given(resized);
    const Ends shown_ends(shown);
    const Bounds extent = bounds_of(shown_ends.points, 4);
    double long_diameter = length_of(shown.long_axis);
    if (shown.short_known) long_diameter = std::max(long_diameter, length_of(shown.short_axis));
    const double margin = std::max(kLeastMargin, kMarginShare * long_diameter);
    const double across = std::max(extent.high.x - extent.low.x, extent.high.y - extent.low.y);
    const double shrink = std::min(1.0, side / (across + 2 * margin));
    plan.scale = {scale.x * shrink, scale.y * shrink};
    for (const double length : {plan.scale.x, plan.scale.y})
        if (!(0.0 < length && length <= side) || side * (side / length) > kMostCropPixels)
            return false;

    plan.offset = {first_pixel(0.5 * (bounds.low.x + bounds.high.x + 1), size, plan.scale.x),
                   first_pixel(0.5 * (bounds.low.y + bounds.high.y + 1), size, plan.scale.y)};
    const SourceSpan down = source_span({size, plan.offset.y, plan.scale.y, rows});
    const SourceSpan along = source_span({size, plan.offset.x, plan.scale.x, cols});
    plan.box = {down.first, along.first, down.last, along.last};
    plan.around_mark = box_around(bounds, ring);
    plan.at_mark = box_around(bounds, 0.0);

    for (int k = 0; k < 8; k += 2) {
        plan.mark[k] = coordinates[k] - plan.offset.x;
        plan.mark[k + 1] = coordinates[k + 1] - plan.offset.y;
    }
    if (plan.scale.x == 1.0 && plan.scale.y == 1.0) return true;
    if (!resize(plan.mark, plan.scale, plan.mark)) return false;
    // Where pixels become square, the axes may change places.
    const Ends placed(mark_as_given(plan.mark));
    if (mark.short_known && length_of(placed.points + 2) > length_of(placed.points))
        std::swap_ranges(plan.mark, plan.mark + 4, plan.mark + 4);
    return true;
}

}  // namespace dsnet
