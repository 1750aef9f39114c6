#include "masks/distance.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "masks/simd.h"

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

// Columns of a box with the pixels' steps, and what lies outside.
struct StepRow {
    const std::int32_t* steps;
    std::ptrdiff_t cols;
    Spacing spacing;

    double squared(std::ptrdiff_t x, std::ptrdiff_t away) const {
        const double along = (x < 0 || x >= cols ? 0 : steps[x]) * spacing.row;
        const double across = static_cast<double>(away) * spacing.column;
        return along * along + across * across;
    }

    // `witness`: the column of the nearest pixel outside.
    double nearest(std::ptrdiff_t x, std::ptrdiff_t& witness) const {
        double least = squared(x, 0);
        witness = x;
        for (std::ptrdiff_t away = 1;; ++away) {
            const double across = static_cast<double>(away) * spacing.column;
            if (!(across * across < least)) return least;
            for (const std::ptrdiff_t column : {x - away, x + away}) {
                const double found = squared(column, away);
                if (found < least) {
                    least = found;
                    witness = column;
                }
            }
        }
    }
};

// The row's largest distance, where it is larger than `best`.
double row_largest(const StepRow& row, double best) {
    for (std::ptrdiff_t begin = 0; begin < row.cols; ++begin) {
        if (row.steps[begin] == 0) continue;
        std::ptrdiff_t end = begin + 1;
        while (end < row.cols && row.steps[end] != 0) ++end;
        // A pixel is as near to the outside as to its run's ends, and to its column's.
        const double share = std::floor(std::sqrt(best) / row.spacing.column) - 1;
        const auto skipped = static_cast<std::ptrdiff_t>(std::clamp(share, 0.0, 1e9));
        std::ptrdiff_t witness = begin - 1;
        for (std::ptrdiff_t x = begin + skipped; x < end - skipped; ++x) {
            if (row.squared(x, 0) <= best) continue;
            // What is near enough to the last pixel may be to this one.
            if (row.squared(witness, x - witness) <= best) continue;
            const double found = row.nearest(x, witness);
            if (found > best) {
                best = found;
                continue;
            }
            // A pixel so near to this one cannot be far enough from the outside. One less, for
            // rounding.
            const double skip =
                std::floor((std::sqrt(best) - std::sqrt(found)) / row.spacing.column) - 1;
            if (skip > 0) x += static_cast<std::ptrdiff_t>(std::min(skip, 1e9));
        }
        begin = end;
    }
    return best;
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

// Felzenszwalb's column pass, then a search that ends early: the fewest steps to the outside along
// a column or a row bound a pixel's distance, and few pixels pass the best found so far.
double largest_distance_squared(Image<const std::uint8_t> mask, const Box& box, Spacing spacing,
                                DistanceWorkspace& workspace) {
    if (box.empty()) return 0.0;
    const auto rows = static_cast<std::size_t>(box.rows());
    const auto cols = static_cast<std::size_t>(box.cols());
    workspace.steps.resize(std::max(workspace.steps.size(), rows * cols));
    workspace.row_largest.resize(std::max(workspace.row_largest.size(), rows));
    std::int32_t* steps = workspace.steps.data();
    const std::int32_t* largest = workspace.row_largest.data();
    masks_simd().column_steps(mask.row(box.top) + box.left, mask.row_stride, box.rows(), box.cols(),
                              steps, workspace.row_largest.data());
    const auto row_at = [&](std::ptrdiff_t y) {
        return StepRow{steps + y * box.cols(), box.cols(), spacing};
    };
    const std::ptrdiff_t first = std::max_element(largest, largest + rows) - largest;
    const StepRow row = row_at(first);
    std::ptrdiff_t witness;
    double best = row.nearest(std::max_element(row.steps, row.steps + cols) - row.steps, witness);
    for (std::ptrdiff_t y = 0; y < box.rows(); ++y) {
        const double along = largest[y] * spacing.row;
        if (along * along > best) best = row_largest(row_at(y), best);
    }
    return best;
}

void set_innermost(const Box& box, Spacing spacing, double largest, std::uint8_t value,
                   const DistanceWorkspace& workspace, Image<std::uint8_t> out) {
    const double enough = largest * kAsFar;
    for (std::ptrdiff_t y = 0; y < box.rows(); ++y) {
        const StepRow row{workspace.steps.data() + y * box.cols(), box.cols(), spacing};
        for (std::ptrdiff_t x = 0; x < box.cols(); ++x) {
            if (row.steps[x] == 0 || row.squared(x, 0) < enough) continue;
            std::ptrdiff_t witness;
            if (row.nearest(x, witness) >= enough) out.row(y)[x] = value;
        }
    }
}

double inscribed_diameter(Image<const std::uint8_t> mask, const Box& box, Spacing spacing,
                          DistanceWorkspace& workspace) {
    const double farthest = std::sqrt(largest_distance_squared(mask, box, spacing, workspace));
    // From the centre of a pixel to the next pixel's centre, less half a pixel: to its edge.
    return std::max(2.0 * farthest - (spacing.row + spacing.column) / 2, 0.0);
}

}  // namespace dsnet
