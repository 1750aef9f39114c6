#include "cut/border.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "cut/numbers.h"

namespace dsnet {

BorderCut::Costs BorderCut::costs(double border_cost) {
    return {static_cast<std::int32_t>(std::lround(border_cost * kUnits)),
            static_cast<std::int32_t>(std::lround(border_cost * kUnits / std::sqrt(2.0)))};
}

std::ptrdiff_t BorderCut::solve(Image<const float> log_odds, Image<const std::uint8_t> seeds,
                                double border_cost, Image<std::uint8_t> lesion) {
    const std::ptrdiff_t rows = log_odds.rows, cols = log_odds.cols, stride = cols + 2;
    const std::ptrdiff_t steps[kDirections] = {1,          -1,          stride,     -stride,
                                               stride + 1, -stride - 1, stride - 1, -stride + 1};
    const auto [side, across] = costs(border_cost);
    for (int d = 0; d < kDirections; ++d) {
        offset_[d] = steps[d];
        weight_[d] = d < 4 ? side : across;
    }
    const std::int32_t all_borders = 4 * (side + across);
    const auto size = static_cast<std::size_t>((rows + 2) * stride);
    state_.assign(size, kBeyond);
    terminal_.resize(size);
    for (std::ptrdiff_t y = 0; y < rows; ++y) {
        const std::ptrdiff_t begin = (y + 1) * stride + 1;
        const float* odds = log_odds.row(y);
        const std::uint8_t* seed = seeds.row(y);
        // The compiler takes many pixels at a time where none may be another's and nothing
        // branches.
        std::int32_t* __restrict terminal = &terminal_[static_cast<std::size_t>(begin)];
        State* __restrict state = &state_[static_cast<std::size_t>(begin)];
        for (std::ptrdiff_t x = 0; x < cols; ++x) {
            const float scaled = (odds[x] * static_cast<float>(kUnits) + kRounder) - kRounder;
            const auto rounded = static_cast<std::int32_t>(scaled);
            const std::int32_t sure = -static_cast<std::int32_t>(seed[x] != 0);
            const std::int32_t value = (kSeedOdds & sure) | (rounded & ~sure);
            terminal[x] = value;
            state[x] = static_cast<State>(kLesion * (value > all_borders) +
                                          kBackground * (value < -all_borders));
        }
    }
    decide();

    // The open pixels as a graph; node 0 stands where there is no neighbour.
    number_.resize(size);
    again_.clear();
    for (const std::ptrdiff_t pixel : open_) {
        if (state_[static_cast<std::size_t>(pixel)] != kOpen) continue;
        again_.push_back(pixel);
        number_[static_cast<std::size_t>(pixel)] = static_cast<Index>(again_.size());
    }
    reset(again_.size() + 1);
    neighbour_list_.assign(8 * (again_.size() + 1), 0);
    for (std::size_t k = 0; k < again_.size(); ++k) {
        const Index node = static_cast<Index>(k + 1);
        for (int d = 0; d < kDirections; ++d) {
            const auto other = static_cast<std::size_t>(again_[k] + offset_[d]);
            if (state_[other] != kOpen) continue;
            neighbour_list_[8 * (k + 1) + static_cast<std::size_t>(d)] = number_[other];
            residuals_[k + 1].to[d] = static_cast<std::uint32_t>(weight_[d]);
        }
        join_terminal(node, balance(again_[k]).own);
    }
    neighbours_.of = neighbour_list_.data();
    maximise();

    for (std::size_t k = 0; k < again_.size(); ++k)
        if (nodes_[k + 1].tree == kSource) state_[static_cast<std::size_t>(again_[k])] = kLesion;
    for (std::ptrdiff_t y = 0; y < rows; ++y) {
        const State* state = &state_[static_cast<std::size_t>((y + 1) * stride + 1)];
        std::uint8_t* out = lesion.row(y);
        for (std::ptrdiff_t x = 0; x < cols; ++x) out[x] = state[x] == kLesion;
    }
    return static_cast<std::ptrdiff_t>(again_.size());
}

// What a pixel has of its own with what its decided neighbours add, and its borders with the
// others.
BorderCut::Balance BorderCut::balance(std::ptrdiff_t pixel) const {
    static_assert(kOpen == 0 && kLesion == 1 && kBackground == 2 && kBeyond == 3);
    constexpr std::int32_t kPull[4] = {0, 1, -1, 0}, kUndecided[4] = {1, 0, 0, 0};
    const State* state = state_.data() + pixel;
    std::int32_t pull[2] = {}, open[2] = {};
    for (int d = 0; d < kDirections; ++d) {
        const State other = state[offset_[d]];
        pull[d >> 2] += kPull[other];
        open[d >> 2] += kUndecided[other];
    }
    const std::int32_t side = weight_[kRight], across = weight_[kDownRight];
    return {terminal_[static_cast<std::size_t>(pixel)] + side * pull[0] + across * pull[1],
            side * open[0] + across * open[1]};
}

// Decides pixels until none outweighs the borders with its open neighbours any more. Fills `open_`,
// in which pixels that were decided later remain.
void BorderCut::decide() {
    open_.clear();
    const State* state = state_.data();
    const auto size = static_cast<std::ptrdiff_t>(state_.size());
    static_assert(sizeof(State) == 1 && kOpen == 0);
    for (std::ptrdiff_t pixel = 0; pixel < size;) {
        if (pixel + 8 <= size) {
            // Eight at a time where none is open: does any byte equal zero?
            constexpr std::uint64_t kOnes = 0x0101010101010101;
            std::uint64_t eight;
            std::memcpy(&eight, state + pixel, 8);
            if (((eight - kOnes) & ~eight & (kOnes << 7)) == 0) {
                pixel += 8;
                continue;
            }
        }
        for (const std::ptrdiff_t end = std::min(pixel + 8, size); pixel < end; ++pixel)
            if (state[pixel] == kOpen) open_.push_back(pixel);
    }
    again_.clear();
    for (const std::ptrdiff_t first : open_) {
        again_.push_back(first);
        while (!again_.empty()) {
            const std::ptrdiff_t pixel = again_.back();
            again_.pop_back();
            State& here = state_[static_cast<std::size_t>(pixel)];
            if (here != kOpen) continue;
            const Balance found = balance(pixel);
            if (std::abs(found.own) <= found.borders) continue;
            here = found.own > 0 ? kLesion : kBackground;
            for (const std::ptrdiff_t offset : offset_)
                // Those that come later in their turn see it then.
                if (state[pixel + offset] == kOpen && pixel + offset < first)
                    again_.push_back(pixel + offset);
        }
    }
}

}  // namespace dsnet
