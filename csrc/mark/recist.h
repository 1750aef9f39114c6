// RECIST marks: the long and the short axis that a radiologist draws over a lesion.
//
// Points are (x, y) in pixels, pixel centres at whole numbers. What is computed here agrees with
// dsnet.labeling.RecistMark, whose docstrings say more.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "base/image.h"

namespace dsnet {

struct Point {
    double x = 0.0;
    double y = 0.0;
};

struct RecistMark {
    Point long_axis[2];
    Point short_axis[2];  // an assumed one, where it is not known
    bool short_known = true;
};

// Finite, and within what can belong to an image: beyond it products overflow. The last four may
// all be NaN: the short axis is unknown.
bool are_usable(const double coordinates[8]);

// From the coordinates x1 y1 x2 y2 of the long axis, then of the short one.
RecistMark mark_as_given(const double coordinates[8]);
// The same, of axes in any order: the longer becomes the long one.
RecistMark mark_from_coordinates(const double coordinates[8]);

// What follows from a mark.
struct MarkFrame {
    explicit MarkFrame(const RecistMark& mark);

    Point along, across;  // unit vectors
    Point centre;
    double long_diameter, short_diameter;
    Point low, high;  // bounds of the end points

    double along_of(Point p) const { return p.x * along.x + p.y * along.y; }
    double across_of(Point p) const { return p.x * across.x + p.y * across.y; }
};

// Half the axes of the axes' ellipse.
struct HalfAxes {
    double along, across;
};
HalfAxes ellipse_axes(const RecistMark& mark, const MarkFrame& frame);

// The end points' convex hull in order around it; returns how many corners it has.
int convex_hull(const RecistMark& mark, Point hull[4]);

// What is odd about a mark as it was drawn, as bits in the order of RecistMark.problems.
enum MarkProblem : unsigned {
    kZeroLong = 1,
    kZeroShort = 2,
    kNotCrossing = 4,
    kNotPerpendicular = 8,
    kOutside = 16,
    kPartlyOutside = 32,
};
unsigned mark_problems(const RecistMark& mark, std::ptrdiff_t rows, std::ptrdiff_t cols);
int count_problems(unsigned problems);

// The part of the image within `margin` of the end points, at least one row and one column.
Box window_around(const MarkFrame& frame, double margin, std::ptrdiff_t rows, std::ptrdiff_t cols);

// Rasterised marks: these set pixels of `out` to 1, leave the others, and return how many lie
// inside. `out` shows the image from (`left`, `top`) on; an ellipse without data is only counted.
std::ptrdiff_t add_ellipse(const RecistMark& mark, double scale, std::ptrdiff_t top,
                           std::ptrdiff_t left, Image<std::uint8_t> out);
std::ptrdiff_t add_quadrilateral(const RecistMark& mark, std::ptrdiff_t top, std::ptrdiff_t left,
                                 Image<std::uint8_t> out);
void add_axes(const RecistMark& mark, std::ptrdiff_t top, std::ptrdiff_t left,
              Image<std::uint8_t> out);

// Calls body(y, x) for the pixels of the axes within rows x cols, some of them several times.
template <class Body>
void each_axis_pixel(const RecistMark& mark, std::ptrdiff_t rows, std::ptrdiff_t cols, Body body) {
    for (const Point* axis : {mark.long_axis, mark.short_axis}) {
        // The same pixels whichever end was drawn first.
        const bool turned = axis[1].x < axis[0].x ||
                            (axis[1].x == axis[0].x && axis[1].y < axis[0].y);
        const Point from = axis[turned ? 1 : 0], to = axis[turned ? 0 : 1];
        const Point d = {to.x - from.x, to.y - from.y};
        const double most = std::min(std::max(std::abs(d.x), std::abs(d.y)), 1e5);
        const int steps = 4 * static_cast<int>(std::ceil(most));
        for (int k = 0; k <= steps; ++k) {
            const double share = k == steps ? 1.0 : k * (1.0 / steps);
            const double x = std::nearbyint(from.x + d.x * share);
            const double y = std::nearbyint(from.y + d.y * share);
            if (y >= 0 && y < static_cast<double>(rows) && x >= 0 && x < static_cast<double>(cols))
                body(static_cast<std::ptrdiff_t>(y), static_cast<std::ptrdiff_t>(x));
        }
    }
}

}  // namespace dsnet
