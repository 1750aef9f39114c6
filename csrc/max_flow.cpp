#include "max_flow.h"

#include <algorithm>
#include <cstdlib>
#include <limits>

namespace dsnet {

std::int64_t GridMaxFlow::solve(const GridCapacities& capacities,
                                Image<std::uint8_t> source_side) {
    std::int64_t flow = load(capacities);
    while (active_count_ > 0) {
        const Index node = active_[active_begin_];
        if (nodes_[node].tree != kFree) {
            const Path path = grow(node);
            if (path.source_end >= 0) {
                // The node stays first in line: it may reach the other tree again.
                ++time_;
                flow += augment(path);
                adopt();
                continue;
            }
        }
        nodes_[node].queued = false;
        active_begin_ = active_begin_ + 1 == active_.size() ? 0 : active_begin_ + 1;
        --active_count_;
    }
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
    std::copy(std::begin(offsets), std::end(offsets), offset_);

    const std::size_t count = static_cast<std::size_t>(rows + 2) * static_cast<std::size_t>(stride_);
    residuals_.assign(count, Residuals{});
    nodes_.assign(count, Node{0, 0, 0, kFree, kNoParent, false});
    active_.resize(static_cast<std::size_t>(rows * cols));
    active_begin_ = active_count_ = 0;
    orphans_.clear();
    orphans_done_ = 0;
    time_ = 0;

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
            if (from_source == to_sink) continue;
            const Index index = static_cast<Index>((y + 1) * stride_ + x + 1);
            Node& node = nodes_[index];
            node.terminal = from_source - to_sink;
            node.tree = node.terminal > 0 ? kSource : kSink;
            node.parent = kTerminal;
            node.depth = 1;
            activate(index);
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

void GridMaxFlow::activate(Index node) {
    if (nodes_[node].queued) return;
    nodes_[node].queued = true;
    std::size_t end = active_begin_ + active_count_;
    if (end >= active_.size()) end -= active_.size();
    active_[end] = node;
    ++active_count_;
}

// Gives the node's free neighbours to its tree; returns at the first neighbour in the other tree.
GridMaxFlow::Path GridMaxFlow::grow(Index index) {
    const Node& node = nodes_[index];
    for (int direction = 0; direction < kDirections; ++direction) {
        if (outward(index, direction, node.tree) == 0) continue;
        const Index other_index = neighbour(index, direction);
        Node& other = nodes_[other_index];
        if (other.tree == kFree) {
            other.tree = node.tree;
        } else if (other.tree != node.tree) {
            if (node.tree == kSource) return {index, other_index, direction};
            return {other_index, index, direction ^ 1};
        } else if (other.time > node.time || other.depth <= node.depth + 1) {
            continue;
        }
        // A new leaf, or one that comes nearer to its terminal by this node.
        other.parent = static_cast<std::uint8_t>(direction ^ 1);
        other.time = node.time;
        other.depth = node.depth + 1;
        if (!other.queued) activate(other_index);
    }
    return {};
}

std::int64_t GridMaxFlow::augment(const Path& path) {
    std::uint32_t flow = residuals_[path.source_end].to[path.direction];
    Index node = path.source_end;
    for (; nodes_[node].parent != kTerminal; node = neighbour(node, nodes_[node].parent)) {
        const int up = nodes_[node].parent;
        flow = std::min(flow, residuals_[neighbour(node, up)].to[up ^ 1]);
    }
    flow = std::min(flow, static_cast<std::uint32_t>(nodes_[node].terminal));
    for (node = path.sink_end; nodes_[node].parent != kTerminal;
         node = neighbour(node, nodes_[node].parent)) {
        flow = std::min(flow, residuals_[node].to[nodes_[node].parent]);
    }
    flow = std::min(flow, static_cast<std::uint32_t>(-nodes_[node].terminal));

    residuals_[path.source_end].to[path.direction] -= flow;
    residuals_[path.sink_end].to[path.direction ^ 1] += flow;
    for (node = path.source_end; nodes_[node].parent != kTerminal;) {
        const int up = nodes_[node].parent;
        const Index parent = neighbour(node, up);
        residuals_[node].to[up] += flow;
        if ((residuals_[parent].to[up ^ 1] -= flow) == 0) orphan(node);
        node = parent;
    }
    // The bottleneck fits the terminal's residual, so it fits 31 bits.
    if ((nodes_[node].terminal -= static_cast<std::int32_t>(flow)) == 0) orphan(node);
    for (node = path.sink_end; nodes_[node].parent != kTerminal;) {
        const int up = nodes_[node].parent;
        const Index parent = neighbour(node, up);
        residuals_[parent].to[up ^ 1] += flow;
        if ((residuals_[node].to[up] -= flow) == 0) orphan(node);
        node = parent;
    }
    if ((nodes_[node].terminal += static_cast<std::int32_t>(flow)) == 0) orphan(node);
    return flow;
}

void GridMaxFlow::orphan(Index node) {
    nodes_[node].parent = kOrphan;
    orphans_.push_back(node);
}

void GridMaxFlow::adopt() {
    while (orphans_done_ < orphans_.size()) adopt_one(orphans_[orphans_done_++]);
    orphans_.clear();
    orphans_done_ = 0;
}

// Looks for the nearest parent that is still joined to the terminal; without one the node is free
// and its children are orphans.
void GridMaxFlow::adopt_one(Index index) {
    Node& node = nodes_[index];
    const Tree opposite = node.tree == kSource ? kSink : kSource;
    constexpr std::int32_t kFar = std::numeric_limits<std::int32_t>::max();
    std::int32_t best_depth = kFar;
    int best = -1;
    for (int direction = 0; direction < kDirections; ++direction) {
        // Into the node from a parent: outward of the parent, so against the node's own sense.
        if (outward(index, direction, opposite) == 0) continue;
        const Index other = neighbour(index, direction);
        if (nodes_[other].tree != node.tree) continue;
        const std::int32_t depth = rooted_depth(other);
        if (depth < 0) continue;
        mark_rooted(other, depth);
        if (depth < best_depth) {
            best_depth = depth;
            best = direction;
        }
    }
    if (best >= 0) {
        node.parent = static_cast<std::uint8_t>(best);
        node.time = time_;
        node.depth = best_depth + 1;
        return;
    }
    for (int direction = 0; direction < kDirections; ++direction) {
        const Index other_index = neighbour(index, direction);
        const Node& other = nodes_[other_index];
        if (other.tree != node.tree) continue;
        if (outward(index, direction, opposite) != 0) activate(other_index);
        if (other.parent == (direction ^ 1)) orphan(other_index);
    }
    node.tree = kFree;
    node.parent = kNoParent;
}

// Steps from the node to its terminal, -1 if the way up ends in an orphan.
std::int32_t GridMaxFlow::rooted_depth(Index index) const {
    std::int32_t steps = 0;
    for (;;) {
        const Node& node = nodes_[index];
        if (node.parent == kOrphan || node.parent == kNoParent) return -1;
        if (node.time == time_) return steps + node.depth;
        ++steps;
        if (node.parent == kTerminal) return steps;
        index = neighbour(index, node.parent);
    }
}

// Stamps the way up, so that later searches of this round stop early.
void GridMaxFlow::mark_rooted(Index index, std::int32_t depth) {
    for (;;) {
        Node& node = nodes_[index];
        if (node.time == time_) return;
        node.time = time_;
        node.depth = depth--;
        if (node.parent == kTerminal) return;
        index = neighbour(index, node.parent);
    }
}

}  // namespace dsnet
