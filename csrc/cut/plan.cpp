#include "cut/plan.h"

#include <algorithm>
#include <vector>

#include "edge/model.h"
#include "mark/recist.h"

namespace dsnet {
namespace {

// Inner share of the axes that is sure lesion; their ends lie on the border.
constexpr double kSureShare = 0.6;

}  // namespace

RecistMark inner_axes(const RecistMark& mark) {
    const Point centre = MarkFrame(mark).centre;
    double inner[8];
    int next = 0;
    for (const Point* axis : {mark.long_axis, mark.short_axis}) {
        for (int end = 0; end < 2; ++end) {
            inner[next++] = centre.x + kSureShare * (axis[end].x - centre.x);
            inner[next++] = centre.y + kSureShare * (axis[end].y - centre.y);
        }
    }
    return mark_from_coordinates(inner);
}

std::ptrdiff_t marked_area(const RecistMark& mark, std::ptrdiff_t rows, std::ptrdiff_t cols) {
    std::ptrdiff_t area = add_ellipse(mark, 1.0, 0, 0, {nullptr, rows, cols});
    if (area == 0) {
        std::vector<std::uint8_t> drawn(static_cast<std::size_t>(rows * cols));
        area = add_quadrilateral(mark, 0, 0, {drawn.data(), rows, cols});
    }
    return std::max<std::ptrdiff_t>(area, 1);
}

CutPlan plan_cut(const RecistMark& mark, std::ptrdiff_t rows, std::ptrdiff_t cols,
                 std::uint64_t* seeds) {
    CutPlan plan = {};
    const MarkFrame frame(mark);
    const Box window = lesion_window(frame, rows, cols);
    const std::ptrdiff_t stride = (cols + 63) / 64;
    std::fill_n(seeds, rows * stride, std::uint64_t{0});
    each_axis_pixel(inner_axes(mark), rows, cols, [&](std::ptrdiff_t y, std::ptrdiff_t x) {
        if (y < window.top || y >= window.bottom || x < window.left || x >= window.right) return;
        seeds[y * stride + x / 64] |= std::uint64_t{1} << (x % 64);
        plan.seeded = 1;
    });
    plan.top = static_cast<std::int32_t>(window.top);
    plan.left = static_cast<std::int32_t>(window.left);
    plan.edge = plan_edge(mark, frame, window);
    plan.area = static_cast<std::int32_t>(marked_area(mark, rows, cols));
    const HalfAxes half = ellipse_axes(mark, frame);
    plan.half_along = half.along;
    plan.half_across = half.across;
    const auto put = [](Point point, double* to) {
        to[0] = point.x;
        to[1] = point.y;
    };
    put(frame.along, plan.along);
    put(frame.across, plan.across);
    put(frame.centre, plan.centre);
    Point hull[4];
    plan.corners = convex_hull(mark, hull);
    for (int k = 0; k < plan.corners; ++k) put(hull[k], plan.hull + 2 * k);
    return plan;
}

}  // namespace dsnet
