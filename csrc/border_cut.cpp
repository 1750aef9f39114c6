#include "border_cut.h"

#include <cmath>
#include <cstdlib>

namespace dsnet {

std::ptrdiff_t BorderCut::solve(Image<const float> log_odds, Image<const std::uint8_t> seeds,
                                double border_cost, Image<std::uint8_t> lesion) {
    constexpr std::int32_t kSeed = 1 << 28;
    const std::ptrdiff_t rows = log_odds.rows, cols = log_odds.cols, stride = cols + 2;
    const std::ptrdiff_t steps[kDirections] = {1, -1, stride, -stride, stride + 1, -stride - 1,
                                               stride - 1, -stride + 1};
    const auto side = static_cast<std::int32_t>(std::lround(border_cost * kUnits));
    const auto across = static_cast<std::int32_t>(std::lround(border_cost * kUnits / std::sqrt(2.0)));
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
        std::int32_t* terminal = &terminal_[static_cast<std::size_t>(begin)];
        State* state = &state_[static_cast<std::size_t>(begin)];
        for (std::ptrdiff_t x = 0; x < cols; ++x) {
            // To the nearest even number, as numpy.rint does, by way of adding what has no room
            // for a fraction.
            constexpr double kRounder = 6755399441055744.0;
            const double scaled = (static_cast<double>(odds[x]) * kUnits + kRounder) - kRounder;
            const std::int32_t value = seed[x] ? kSeed : static_cast<std::int32_t>(scaled);
            terminal[x] = value;
            state[x] = value > all_borders ? kLesion : value < -all_borders ? kBackground : kOpen;
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
            residuals_[static_cast<std::size_t>(node)].to[d] = static_cast<std::uint32_t>(weight_[d]);
        }
        join_terminal(node, terminal_[static_cast<std::size_t>(again_[k])]);
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

// Decides pixels until none outweighs the borders with its open neighbours any more. The borders
// with decided ones are then part of the open pixels' own weights. Fills `open_`, in which pixels
// that were decided later remain.
void BorderCut::decide() {
    open_.clear();
    for (std::size_t pixel = 0; pixel < state_.size(); ++pixel)
        if (state_[pixel] == kOpen) open_.push_back(static_cast<std::ptrdiff_t>(pixel));
    for (const std::ptrdiff_t pixel : open_) {
        std::int32_t moved = 0;
        for (int d = 0; d < kDirections; ++d) {
            const State other = state_[static_cast<std::size_t>(pixel + offset_[d])];
            moved += other == kLesion ? weight_[d] : other == kBackground ? -weight_[d] : 0;
        }
        terminal_[static_cast<std::size_t>(pixel)] += moved;
    }
    again_ = open_;
    while (!again_.empty()) {
        const std::ptrdiff_t pixel = again_.back();
        again_.pop_back();
        State& state = state_[static_cast<std::size_t>(pixel)];
        if (state != kOpen) continue;
        std::int32_t borders = 0;
        for (int d = 0; d < kDirections; ++d)
            if (state_[static_cast<std::size_t>(pixel + offset_[d])] == kOpen) borders += weight_[d];
        const std::int32_t own = terminal_[static_cast<std::size_t>(pixel)];
        if (std::abs(own) <= borders) continue;
        state = own > 0 ? kLesion : kBackground;
        for (int d = 0; d < kDirections; ++d) {
            const std::ptrdiff_t other = pixel + offset_[d];
            if (state_[static_cast<std::size_t>(other)] != kOpen) continue;
            terminal_[static_cast<std::size_t>(other)] += own > 0 ? weight_[d] : -weight_[d];
            again_.push_back(other);
        }
    }
}

}  // namespace dsnet
