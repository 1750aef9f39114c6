#include "cut/plan.h"

#include <algorithm>

#include "cut/border.h"
#include "edge/model.h"
#include "cut/cut.h"
#include "mark/recist.h"

namespace dsnet {

CutConstants cut_constants(const EdgeNetwork& network) {
    const BorderCut::Costs costs = BorderCut::costs(kBorderCost);
    return {network, edge_taps(), costs.side, costs.across};
}

CutPlan plan_cut(const RecistMark& mark, std::ptrdiff_t rows, std::ptrdiff_t cols,
                 std::uint64_t* seeds) {
    CutPlan plan = {};
    const MarkFrame frame(mark);
    const Window window = lesion_window(frame, rows, cols);
    const std::ptrdiff_t stride = (cols + 63) / 64;
    std::fill_n(seeds, rows * stride, std::uint64_t{0});
    each_axis_pixel(inner_axes(mark), rows, cols, [&](std::ptrdiff_t y, std::ptrdiff_t x) {
        if (y < window.top || y >= window.bottom || x < window.left || x >= window.right) return;
        seeds[y * stride + x / 64] |= std::uint64_t{1} << (x % 64);
        plan.seeded = 1;
    });
    plan.top = static_cast<std::int32_t>(window.top);
    plan.left = static_cast<std::int32_t>(window.left);
    plan.rows = static_cast<std::int32_t>(window.rows());
    plan.cols = static_cast<std::int32_t>(window.cols());
    const MarkEvidence evidence(mark, frame, window);
    plan.curve = evidence.curve;
    plan.ring = evidence.ring;
    std::copy(evidence.same, evidence.same + 2, plan.same);
    plan.area = static_cast<std::int32_t>(marked_area(mark, window, rows, cols));
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
