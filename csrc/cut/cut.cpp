#include "cut/cut.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/lanes.h"
#include "cut/numbers.h"

namespace dsnet {
namespace {

template <typename T>
void fill(Image<T> image, T value) {
    for (std::ptrdiff_t y = 0; y < image.rows; ++y)
        std::fill(image.row(y), image.row(y) + image.cols, value);
}

std::ptrdiff_t count_set(Image<const std::uint8_t> mask) {
    std::ptrdiff_t count = 0;
    for (std::ptrdiff_t y = 0; y < mask.rows; ++y) {
        std::int32_t row = 0;
        for (std::ptrdiff_t x = 0; x < mask.cols; ++x) row += mask.row(y)[x] != 0;
        count += row;
    }
    return count;
}

// The ellipse, and about it nothing but that its rim is where the border may lie.
void fall_back(const RecistMark& mark, CutWorkspace& workspace, Image<std::uint8_t> mask,
               Image<float> log_odds) {
    fill<std::uint8_t>(mask, 0);
    workspace.mask.assign(static_cast<std::size_t>(mask.size()), 0);
    const Image<std::uint8_t> rim(workspace.mask.data(), mask.rows, mask.cols);
    add_ellipse(mark, kInnerEllipse, 0, 0, mask);
    add_ellipse(mark, kOuterEllipse, 0, 0, rim);
    for (std::ptrdiff_t y = 0; y < mask.rows; ++y) {
        float* odds = log_odds.row(y);
        for (std::ptrdiff_t x = 0; x < mask.cols; ++x)
            odds[x] = mask.row(y)[x] ? kCertain : rim.row(y)[x] ? 0.0f : -kCertain;
    }
    if (add_ellipse(mark, 1.0, 0, 0, mask) == 0) add_quadrilateral(mark, 0, 0, mask);
}

}  // namespace

CutOutcome cut_recist(Image<const float> image, const RecistMark& mark, const EdgeNetwork& network,
                      CutWorkspace& workspace, Image<std::uint8_t> mask, Image<float> log_odds) {
    const MarkFrame frame(mark);
    const Box window = lesion_window(frame, image.rows, image.cols);
    const auto size = static_cast<std::size_t>(window.rows() * window.cols());
    workspace.seeds.assign(size, 0);
    workspace.mask.assign(size, 0);
    const Image<float> odds(log_odds.row(window.top) + window.left, window.rows(), window.cols(),
                            log_odds.row_stride);
    const Image<std::uint8_t> seeds(workspace.seeds.data(), window.rows(), window.cols());
    const Image<std::uint8_t> cut(workspace.mask.data(), window.rows(), window.cols());
    const Image<const std::uint8_t> seen(seeds.data, seeds.rows, seeds.cols);
    const Image<const std::uint8_t> found(cut.data, cut.rows, cut.cols);

    CutOutcome outcome;
    const auto [contrast, threshold] =
        weigh_evidence(image, mark, window, network, workspace.edge, odds);
    outcome.expected_dice = threshold.expected_dice;
    if (std::abs(contrast) < kLeastContrast) {
        outcome.fallback = CutFallback::kContrast;
        outcome.value = std::abs(contrast);
    } else {
        add_axes(inner_axes(mark), window.top, window.left, seeds);
        if (std::memchr(seeds.data, 1, size) == nullptr) outcome.fallback = CutFallback::kNoSeeds;
    }
    if (outcome.fallback == CutFallback::kNone) {
        const float least = threshold.log_odds;
        for (std::ptrdiff_t y = 0; y < cut.rows; ++y) {
            const float* const value = odds.row(y);
            const std::uint8_t* const seed = seeds.row(y);
            std::uint8_t* const in = cut.row(y);
            DSNET_INDEPENDENT
            for (std::ptrdiff_t x = 0; x < cut.cols; ++x) in[x] = (value[x] >= least) | seed[x];
        }
        keep_seeded_part(cut, seen, workspace.components);
        fill_holes(cut, workspace.components);
        const double share = static_cast<double>(count_set(found)) /
                             static_cast<double>(marked_area(mark, image.rows, image.cols));
        if (!(share >= kLeastArea && share <= kMostArea)) {
            outcome.fallback = CutFallback::kArea;
            outcome.value = share;
        }
    }
    if (outcome.fallback != CutFallback::kNone) {
        fall_back(mark, workspace, mask, log_odds);
        return outcome;
    }
    fill<std::uint8_t>(mask, 0);
    for (std::ptrdiff_t y = 0; y < window.rows(); ++y)
        std::copy_n(cut.row(y), cut.cols, mask.row(window.top + y) + window.left);
    for (std::ptrdiff_t y = 0; y < log_odds.rows; ++y) {
        float* const row = log_odds.row(y);
        const bool within = y >= window.top && y < window.bottom;
        std::fill(row, row + (within ? window.left : log_odds.cols), -kCertain);
        if (within) std::fill(row + window.right, row + log_odds.cols, -kCertain);
    }
    return outcome;
}

}  // namespace dsnet
