#include "mark/recist.h"

#include <algorithm>
#include <cmath>

namespace dsnet {
namespace {

// An axis drawn shorter than this many pixels has no direction to trust.
constexpr double kShortestAxis = 0.25;
// Beyond this no image reaches, and whole numbers still fit.
constexpr double kFar = 1e9;
// Short over long axis where the short one is unknown; recist.py says why.
constexpr double kAssumedRatio = 0.75;

Point minus(Point a, Point b) { return {a.x - b.x, a.y - b.y}; }
double length(const Point axis[2]) {
    return std::hypot(axis[1].x - axis[0].x, axis[1].y - axis[0].y);
}
Point middle(const Point axis[2]) {
    return {(axis[0].x + axis[1].x) / 2, (axis[0].y + axis[1].y) / 2};
}

std::ptrdiff_t bounded(double value, std::ptrdiff_t low, std::ptrdiff_t high) {
    const double kept = std::min(std::max(value, -kFar), kFar);
    return std::min(std::max(static_cast<std::ptrdiff_t>(kept), low), high);
}

// The short axis is unknown.
bool is_line(const double coordinates[8]) {
    bool unknown = true;
    for (int k = 4; k < 8; ++k) unknown &= std::isnan(coordinates[k]);
    return unknown;
}

bool axes_cross(const RecistMark& mark) {
    const Point d = minus(mark.long_axis[1], mark.long_axis[0]);
    const Point e = minus(mark.short_axis[1], mark.short_axis[0]);
    const double long_length = length(mark.long_axis), short_length = length(mark.short_axis);
    const double determinant = d.x * e.y - d.y * e.x;
    if (std::abs(determinant) < 1e-9 * long_length * short_length) return false;
    const Point gap = minus(mark.short_axis[0], mark.long_axis[0]);
    const double at_long = (gap.x * e.y - gap.y * e.x) / determinant;
    const double at_short = (gap.x * d.y - gap.y * d.x) / determinant;
    // One pixel of slack: real marks may just fail to touch.
    const double slack_long = 1.0 / long_length, slack_short = 1.0 / short_length;
    return -slack_long <= at_long && at_long <= 1 + slack_long && -slack_short <= at_short &&
           at_short <= 1 + slack_short;
}

}  // namespace

bool are_usable(const double coordinates[8]) {
    constexpr double kFarthest = 1e9;
    bool usable = true;
    const int known = is_line(coordinates) ? 4 : 8;
    for (int k = 0; k < known; ++k)
        usable &= std::abs(coordinates[k]) <= kFarthest;  // false for NaN
    return usable;
}

RecistMark mark_as_given(const double c[8]) {
    RecistMark mark = {{{c[0], c[1]}, {c[2], c[3]}}, {{c[4], c[5]}, {c[6], c[7]}}};
    if (is_line(c)) {
        // Across the long axis' middle.
        const Point d = minus(mark.long_axis[1], mark.long_axis[0]);
        const Point at = middle(mark.long_axis);
        const Point half = {0.5 * kAssumedRatio * -d.y, 0.5 * kAssumedRatio * d.x};
        mark.short_axis[0] = {at.x - half.x, at.y - half.y};
        mark.short_axis[1] = {at.x + half.x, at.y + half.y};
        mark.short_known = false;
    }
    return mark;
}

RecistMark mark_from_coordinates(const double coordinates[8]) {
    RecistMark mark = mark_as_given(coordinates);
    if (length(mark.short_axis) > length(mark.long_axis))
        std::swap(mark.long_axis, mark.short_axis);
    return mark;
}

MarkFrame::MarkFrame(const RecistMark& mark)
    : long_diameter(length(mark.long_axis)), short_diameter(length(mark.short_axis)) {
    along = {1.0, 0.0};
    if (long_diameter >= kShortestAxis) {
        const Point d = minus(mark.long_axis[1], mark.long_axis[0]);
        along = {d.x / long_diameter, d.y / long_diameter};
    } else if (short_diameter >= kShortestAxis) {
        const Point d = minus(mark.short_axis[1], mark.short_axis[0]);
        along = {d.y / short_diameter, -(d.x / short_diameter)};
    }
    across = {-along.y, along.x};
    const double u = along_of(middle(mark.long_axis)), v = across_of(middle(mark.short_axis));
    centre = {along.x * u + across.x * v, along.y * u + across.y * v};
    low = high = mark.long_axis[0];
    for (const Point p : {mark.long_axis[1], mark.short_axis[0], mark.short_axis[1]}) {
        low = {std::min(low.x, p.x), std::min(low.y, p.y)};
        high = {std::max(high.x, p.x), std::max(high.y, p.y)};
    }
}

int convex_hull(const RecistMark& mark, Point hull[4]) {
    Point points[4] = {mark.long_axis[0], mark.long_axis[1], mark.short_axis[0],
                       mark.short_axis[1]};
    const auto before = [](Point a, Point b) { return a.x < b.x || (a.x == b.x && a.y < b.y); };
    std::sort(points, points + 4, before);
    const auto same = [](Point a, Point b) { return a.x == b.x && a.y == b.y; };
    const int count = static_cast<int>(std::unique(points, points + 4, same) - points);
    if (count < 3) {
        std::copy(points, points + count, hull);
        return count;
    }
    int corners = 0;
    const auto chain = [&](auto next) {
        Point kept[4];
        int size = 0;
        for (int i = 0; i < count; ++i) {
            const Point point = next(i);
            while (size > 1) {
                const Point a = minus(kept[size - 1], kept[size - 2]);
                const Point b = minus(point, kept[size - 1]);
                if (a.x * b.y - a.y * b.x > 0) break;
                --size;
            }
            kept[size++] = point;
        }
        for (int i = 0; i + 1 < size && corners < 4; ++i) hull[corners++] = kept[i];
    };
    chain([&](int i) { return points[i]; });
    chain([&](int i) { return points[count - 1 - i]; });
    return corners;
}

unsigned mark_problems(const RecistMark& mark, std::ptrdiff_t rows, std::ptrdiff_t cols) {
    const MarkFrame frame(mark);
    unsigned found = 0;
    if (frame.long_diameter < kShortestAxis) found |= kZeroLong;
    if (mark.short_known && frame.short_diameter < kShortestAxis) found |= kZeroShort;
    if (!found && mark.short_known) {
        if (!axes_cross(mark)) found |= kNotCrossing;
        const Point d = minus(mark.short_axis[1], mark.short_axis[0]);
        if (std::abs(frame.along_of(d)) / frame.short_diameter > 0.5) found |= kNotPerpendicular;
    }
    const double right = static_cast<double>(cols) - 0.5, bottom = static_cast<double>(rows) - 0.5;
    Point low = frame.low, high = frame.high;
    if (!mark.short_known) {
        const Point a = mark.long_axis[0], b = mark.long_axis[1];
        low = {std::min(a.x, b.x), std::min(a.y, b.y)};
        high = {std::max(a.x, b.x), std::max(a.y, b.y)};
    }
    if (high.x < -0.5 || high.y < -0.5 || low.x > right || low.y > bottom)
        found |= kOutside;
    else if (low.x < -0.5 || low.y < -0.5 || high.x > right || high.y > bottom)
        found |= kPartlyOutside;
    return found;
}

int count_problems(unsigned problems) {
    int count = 0;
    for (; problems; problems &= problems - 1) ++count;
    return count;
}

Box window_around(const MarkFrame& frame, double margin, std::ptrdiff_t rows, std::ptrdiff_t cols) {
    Box window;
    window.top = bounded(std::floor(frame.low.y - margin), 0, rows - 1);
    window.bottom = bounded(std::ceil(frame.high.y + margin) + 1, window.top + 1, rows);
    window.left = bounded(std::floor(frame.low.x - margin), 0, cols - 1);
    window.right = bounded(std::ceil(frame.high.x + margin) + 1, window.left + 1, cols);
    return window;
}

HalfAxes ellipse_axes(const RecistMark& mark, const MarkFrame& frame) {
    const Point drawn = minus(mark.short_axis[1], mark.short_axis[0]);
    return {std::max(frame.long_diameter, 1.0) / 2,
            std::max(std::abs(frame.across_of(drawn)), 1.0) / 2};
}

std::ptrdiff_t add_ellipse(const RecistMark& mark, double scale, std::ptrdiff_t top,
                           std::ptrdiff_t left, Image<std::uint8_t> out) {
    const MarkFrame frame(mark);
    const HalfAxes half = ellipse_axes(mark, frame);
    const double half_along = half.along * scale, half_across = half.across * scale;
    const double reach = std::max(half_along, half_across) + 1;
    const auto shift_x = static_cast<double>(left), shift_y = static_cast<double>(top);
    const std::ptrdiff_t y_begin = bounded(frame.centre.y - reach - shift_y, 0, out.rows);
    const std::ptrdiff_t y_end = bounded(frame.centre.y + reach - shift_y + 2, 0, out.rows);
    const std::ptrdiff_t x_begin = bounded(frame.centre.x - reach - shift_x, 0, out.cols);
    const std::ptrdiff_t x_end = bounded(frame.centre.x + reach - shift_x + 2, 0, out.cols);
    // A row's pixels inside lie between the ends of a chord, from a quadratic. Within kSlack of
    // them each pixel is asked; an ellipse too large or too far off for that is asked everywhere.
    constexpr double kSlack = 0.25;
    const double u_step = frame.along.x / half_along, v_step = frame.across.x / half_across;
    const double square = u_step * u_step + v_step * v_step;
    const bool tame = reach < 1e4 && half_along > 0.1 && half_across > 0.1;
    std::ptrdiff_t count = 0;
    for (std::ptrdiff_t y = y_begin; y < y_end; ++y) {
        const double offset_y = static_cast<double>(y + top) - frame.centre.y;
        const double part_u = offset_y * frame.along.y, part_v = offset_y * frame.across.y;
        const auto is_inside = [&](std::ptrdiff_t x) {
            const double offset_x = static_cast<double>(x + left) - frame.centre.x;
            const double u = (offset_x * frame.along.x + part_u) / half_along;
            const double v = (offset_x * frame.across.x + part_v) / half_across;
            return u * u + v * v <= 1.0;
        };
        std::ptrdiff_t begin = x_begin, end = x_end;
        if (tame) {
            const double u = part_u / half_along, v = part_v / half_across;
            const double mean = -(u_step * u + v_step * v) / square;
            const double rest = mean * mean - (u * u + v * v - 1.0) / square;
            const double chord = std::sqrt(std::max(rest, 0.0)) + kSlack;
            const double middle = mean + frame.centre.x - shift_x;
            begin = bounded(std::floor(middle - chord), x_begin, x_end);
            end = bounded(std::ceil(middle + chord) + 1, x_begin, x_end);
        }
        while (begin < end && !is_inside(begin)) ++begin;
        while (begin < end && !is_inside(end - 1)) --end;
        if (out.data != nullptr) std::fill(out.row(y) + begin, out.row(y) + end, std::uint8_t{1});
        count += end - begin;
    }
    return count;
}

std::ptrdiff_t add_quadrilateral(const RecistMark& mark, std::ptrdiff_t top, std::ptrdiff_t left,
                                 Image<std::uint8_t> out) {
    const MarkFrame frame(mark);
    Point hull[4];
    const int corners = convex_hull(mark, hull);
    std::ptrdiff_t count = 0;
    if (corners >= 3) {
        const auto shift_x = static_cast<double>(left), shift_y = static_cast<double>(top);
        const std::ptrdiff_t y_begin = bounded(frame.low.y - shift_y - 1, 0, out.rows);
        const std::ptrdiff_t y_end = bounded(frame.high.y - shift_y + 2, 0, out.rows);
        const std::ptrdiff_t x_begin = bounded(frame.low.x - shift_x - 1, 0, out.cols);
        const std::ptrdiff_t x_end = bounded(frame.high.x - shift_x + 2, 0, out.cols);
        // A row's pixels inside lie between two edges. Within a pixel of them each is asked.
        Point edge[4];
        for (int k = 0; k < corners; ++k) edge[k] = minus(hull[(k + 1) % corners], hull[k]);
        for (std::ptrdiff_t y = y_begin; y < y_end; ++y) {
            double along[4];
            double low = static_cast<double>(x_begin), high = static_cast<double>(x_end);
            for (int k = 0; k < corners; ++k) {
                along[k] = edge[k].x * (static_cast<double>(y + top) - hull[k].y);
                const double crossing = along[k] / edge[k].y + hull[k].x - shift_x;
                if (edge[k].y < 0) low = std::max(low, crossing - 1);
                if (edge[k].y > 0) high = std::min(high, crossing + 2);
            }
            const auto is_inside = [&](std::ptrdiff_t x) {
                bool inside = true;
                for (int k = 0; k < corners; ++k)
                    inside &= along[k] - edge[k].y * (static_cast<double>(x + left) - hull[k].x) >=
                              0;
                return inside;
            };
            std::ptrdiff_t begin = bounded(low, x_begin, x_end);
            std::ptrdiff_t end = bounded(high, x_begin, x_end);
            while (begin < end && !is_inside(begin)) ++begin;
            while (begin < end && !is_inside(end - 1)) --end;
            std::fill(out.row(y) + begin, out.row(y) + std::max(begin, end), std::uint8_t{1});
            count += std::max(begin, end) - begin;
        }
    }
    if (count == 0) {
        // To the nearest even number, as numpy.rint does.
        const double y = std::nearbyint(frame.centre.y) - static_cast<double>(top);
        const double x = std::nearbyint(frame.centre.x) - static_cast<double>(left);
        if (y >= 0 && y < static_cast<double>(out.rows) && x >= 0 &&
            x < static_cast<double>(out.cols)) {
            out.row(static_cast<std::ptrdiff_t>(y))[static_cast<std::ptrdiff_t>(x)] = 1;
            count = 1;
        }
    }
    return count;
}

void add_axes(const RecistMark& mark, std::ptrdiff_t top, std::ptrdiff_t left,
              Image<std::uint8_t> out) {
    each_axis_pixel(mark, top + out.rows, left + out.cols, [&](std::ptrdiff_t y, std::ptrdiff_t x) {
        if (y >= top && x >= left) out.row(y - top)[x - left] = 1;
    });
}

}  // namespace dsnet
