#include "trimap/prior.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "trimap/trimap.h"

namespace dsnet {
namespace {

struct Step {
    std::ptrdiff_t down, right;
    double length;
    float inside, outside;  // the prior of a pixel so far from the edge
};

constexpr std::ptrdiff_t kReach = kEdgeReach;
constexpr std::size_t kSteps = (2 * kReach + 1) * (2 * kReach + 1) - 1;

// To all neighbours, the nearest first.
std::array<Step, kSteps> steps_of(Spacing spacing) {
    std::array<Step, kSteps> steps;
    std::size_t count = 0;
    for (std::ptrdiff_t down = -kReach; down <= kReach; ++down)
        for (std::ptrdiff_t right = -kReach; right <= kReach; ++right) {
            if (down == 0 && right == 0) continue;
            const double length = step_length(static_cast<int>(down), static_cast<int>(right),
                                              spacing.row, spacing.column);
            steps[count++] = {down, right, length, edge_prior(true, length),
                              edge_prior(false, length)};
        }
    std::sort(steps.begin(), steps.end(),
              [](const Step& a, const Step& b) { return a.length < b.length; });
    return steps;
}

}  // namespace

void mask_prior(Image<const std::uint8_t> mask, Image<const std::uint8_t> trimap, Spacing spacing,
                Image<float> out) {
    const std::array<Step, kSteps> steps = steps_of(spacing);
    const float farthest[2] = {edge_prior(false, kReach), edge_prior(true, kReach)};
    for (std::ptrdiff_t y = 0; y < mask.rows; ++y) {
        const std::uint8_t* marked = trimap.row(y);
        const bool inner_row = y >= kReach && y + kReach < mask.rows;
        for (std::ptrdiff_t x = 0; x < mask.cols; ++x) {
            float& prior = out.row(y)[x];
            if (marked[x] != kUnknown) {
                prior = marked[x] == kForeground ? 1.0f : 0.0f;
                continue;
            }
            const bool inside = mask.row(y)[x] != 0;
            const bool inner = inner_row && x >= kReach && x + kReach < mask.cols;
            prior = farthest[inside];
            for (const Step& step : steps) {
                const std::ptrdiff_t row = y + step.down, column = x + step.right;
                if (!inner && (row < 0 || row >= mask.rows || column < 0 || column >= mask.cols))
                    continue;
                if ((mask.row(row)[column] != 0) == inside) continue;
                prior = inside ? step.inside : step.outside;
                break;
            }
        }
    }
}

}  // namespace dsnet
