// The search of minimum cuts on graphs where every node has eight neighbours: augmenting paths over
// two trees (Boykov and Kolmogorov, "An Experimental Comparison of Min-Cut/Max-Flow Algorithms for
// Energy Minimization in Vision", 2004).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace dsnet {

// `Neighbours` gives the node in a direction; direction d and d ^ 1 are opposite. A node without
// capacities stands where there is no neighbour. Memory is kept from one cut to the next.
template <typename Neighbours>
class BoykovKolmogorov {
  protected:
    using Index = std::int32_t;

    static constexpr int kDirections = 8;
    enum Direction : std::uint8_t {
        kRight,
        kLeft,
        kDown,
        kUp,
        kDownRight,
        kUpLeft,
        kDownLeft,
        kUpRight
    };
    // A node's parent is one of the directions or one of these.
    enum Parent : std::uint8_t { kTerminal = 8, kOrphan, kNoParent };
    enum Tree : std::uint8_t { kFree, kSource, kSink };

    // What is left of the eight capacities out of a pixel. A symmetric edge can end with twice its
    // capacity on one side, which needs the 32nd bit.
    struct Residuals {
        std::uint32_t to[kDirections];
    };

    struct Node {
        std::int64_t time;      // when `depth` was last known to be right
        std::int32_t depth;     // steps to the terminal
        std::int32_t terminal;  // residual from the source (> 0) or to the sink (< 0)
        Tree tree;
        std::uint8_t parent;
        bool queued;
    };

    struct Path {
        Index source_end = -1;  // -1: no path
        Index sink_end = -1;
        int direction = 0;
    };

    // Forgets everything; all nodes are free and without capacities.
    void reset(std::size_t count) {
        residuals_.assign(count, Residuals{});
        nodes_.assign(count, Node{0, 0, 0, kFree, kNoParent, false});
        active_.resize(count);
        active_begin_ = active_count_ = 0;
        orphans_.clear();
        orphans_done_ = 0;
        time_ = 0;
    }

    // Residual capacity from the source, less that to the sink; each node at most once.
    void join_terminal(Index index, std::int32_t terminal) {
        if (terminal == 0) return;
        Node& node = nodes_[index];
        node.terminal = terminal;
        node.tree = terminal > 0 ? kSource : kSink;
        node.parent = kTerminal;
        node.depth = 1;
        activate(index);
    }

    // Sends what can be sent. Nodes left in the source's tree are those that it still reaches.
    std::int64_t maximise();

    Path grow(Index node);
    std::int64_t augment(const Path& path);
    void adopt();
    void adopt_one(Index node);
    std::int32_t rooted_depth(Index node) const;
    void mark_rooted(Index node, std::int32_t depth);

    void activate(Index node);
    void orphan(Index node);
    Index neighbour(Index node, int direction) const { return neighbours_(node, direction); }
    // Residual capacity from a tree's node towards its leaves' side: out of it for the source tree,
    // into it for the sink tree.
    std::uint32_t outward(Index node, int direction, Tree tree) const {
        return tree == kSource ? residuals_[node].to[direction]
                               : residuals_[neighbour(node, direction)].to[direction ^ 1];
    }

    Neighbours neighbours_;
    std::vector<Residuals> residuals_;
    std::vector<Node> nodes_;
    std::vector<Index> active_;  // a ring: no node is in it twice
    std::size_t active_begin_ = 0;
    std::size_t active_count_ = 0;
    std::vector<Index> orphans_;
    std::size_t orphans_done_ = 0;
    std::int64_t time_ = 0;
};

template <typename Neighbours>
std::int64_t BoykovKolmogorov<Neighbours>::maximise() {
    std::int64_t flow = 0;
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
    return flow;
}

template <typename Neighbours>
void BoykovKolmogorov<Neighbours>::activate(Index node) {
    if (nodes_[node].queued) return;
    nodes_[node].queued = true;
    std::size_t end = active_begin_ + active_count_;
    if (end >= active_.size()) end -= active_.size();
    active_[end] = node;
    ++active_count_;
}

// Gives the node's free neighbours to its tree; returns at the first neighbour in the other tree.
template <typename Neighbours>
typename BoykovKolmogorov<Neighbours>::Path BoykovKolmogorov<Neighbours>::grow(Index index) {
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

template <typename Neighbours>
std::int64_t BoykovKolmogorov<Neighbours>::augment(const Path& path) {
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

template <typename Neighbours>
void BoykovKolmogorov<Neighbours>::orphan(Index node) {
    nodes_[node].parent = kOrphan;
    orphans_.push_back(node);
}

template <typename Neighbours>
void BoykovKolmogorov<Neighbours>::adopt() {
    while (orphans_done_ < orphans_.size()) adopt_one(orphans_[orphans_done_++]);
    orphans_.clear();
    orphans_done_ = 0;
}

// Looks for the nearest parent that is still joined to the terminal; without one the node is free
// and its children are orphans.
template <typename Neighbours>
void BoykovKolmogorov<Neighbours>::adopt_one(Index index) {
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
template <typename Neighbours>
std::int32_t BoykovKolmogorov<Neighbours>::rooted_depth(Index index) const {
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
template <typename Neighbours>
void BoykovKolmogorov<Neighbours>::mark_rooted(Index index, std::int32_t depth) {
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
