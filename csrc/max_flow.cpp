#include "max_flow.h"

#include <algorithm>
#include <iterator>

namespace dsnet {

std::int64_t GridMaxFlow::solve(const GridCapacities& capacities,
                                Image<std::uint8_t> source_side) {
    const std::int64_t straight = load(capacities);
    const std::int64_t flow = straight + maximise();
    for (std::ptrdiff_t y = 0; y < source_side.rows; ++y) {
        const Node* row = &nodes_[(y + 1) * stride_ + 1];
        for (std::ptrdiff_t x = 0; x < source_side.cols; ++x)
            source_side.row(y)[x] = row[x].tree == kSource;
    }
    return flow;
}

// Lays the grid out with a border of one pixel without capacities, so that no step of the search
// has to ask where the grid ends. Returns the flow that goes straight from source to sink.
std::int64_t GridMaxFlow::load(const GridCapacities& capacities) {
    const std::ptrdiff_t rows = capacities.source.rows, cols = capacities.source.cols;
    stride_ = static_cast<Index>(cols + 2);
    const Index offsets[kDirections] = {1, -1, stride_, -stride_, stride_ + 1, -stride_ - 1,
                                        stride_ - 1, -stride_ + 1};
    std::copy(std::begin(offsets), std::end(offsets), neighbours_.offset);

    const std::size_t count = static_cast<std::size_t>(rows + 2) * static_cast<std::size_t>(stride_);
    reset(count);
    link(capacities.right, kRight, 0, cols - 1, rows);
    link(capacities.down, kDown, 0, cols, rows - 1);
    link(capacities.down_right, kDownRight, 0, cols - 1, rows - 1);
    link(capacities.down_left, kDownLeft, 1, cols, rows - 1);

    std::int64_t flow = 0;
    for (std::ptrdiff_t y = 0; y < rows; ++y) {
        for (std::ptrdiff_t x = 0; x < cols; ++x) {
            const std::int32_t from_source = capacities.source.row(y)[x];
            const std::int32_t to_sink = capacities.sink.row(y)[x];
            flow += std::min(from_source, to_sink);
            join_terminal(static_cast<Index>((y + 1) * stride_ + x + 1), from_source - to_sink);
        }
    }
    return flow;
}

void GridMaxFlow::link(Image<const std::int32_t> capacity, Direction direction,
                       std::ptrdiff_t x_begin, std::ptrdiff_t x_end, std::ptrdiff_t y_end) {
    for (std::ptrdiff_t y = 0; y < y_end; ++y) {
        for (std::ptrdiff_t x = x_begin; x < x_end; ++x) {
            const Index node = static_cast<Index>((y + 1) * stride_ + x + 1);
            const auto value = static_cast<std::uint32_t>(capacity.row(y)[x]);
            residuals_[node].to[direction] = value;
            residuals_[neighbour(node, direction)].to[direction ^ 1] = value;
        }
    }
}

}  // namespace dsnet
