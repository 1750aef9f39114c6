// Exact minimum cut of an 8-connected grid.
#pragma once

#include <cstdint>
#include <vector>

#include "image.h"

namespace dsnet {

// Capacities of a grid, none of them negative. `right` at (y, x) joins (y, x) and (y, x + 1) both
// ways, `down` (y + 1, x), `down_right` (y + 1, x + 1), `down_left` (y + 1, x - 1); entries that
// would leave the grid are not read as edges. `source` and `sink` join each pixel with the terminals.
struct GridCapacities {
    Image<const std::int32_t> source;
    Image<const std::int32_t> sink;
    Image<const std::int32_t> right;
    Image<const std::int32_t> down;
    Image<const std::int32_t> down_right;
    Image<const std::int32_t> down_left;
};

// Largest number of pixels: nodes, with a border around the grid, are counted in 32 bits.
inline constexpr std::ptrdiff_t kMaxGridNodes = 0x7fffffff;

// Augmenting paths over two search trees (Boykov and Kolmogorov, "An Experimental Comparison of
// Min-Cut/Max-Flow Algorithms for Energy Minimization in Vision", 2004). An object keeps its memory
// from one call to the next; it serves one thread at a time.
class GridMaxFlow {
  public:
    // Returns the flow and writes 1 where residual capacity still leads from the source to the
    // pixel: the smallest source side of all minimum cuts, which is unique.
    std::int64_t solve(const GridCapacities& capacities, Image<std::uint8_t> source_side);

  private:
    using Index = std::int32_t;

    static constexpr int kDirections = 8;
    // Direction d and d ^ 1 are opposite.
    enum Direction : std::uint8_t { kRight, kLeft, kDown, kUp, kDownRight, kUpLeft, kDownLeft, kUpRight };
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

    std::int64_t load(const GridCapacities& capacities);
    void link(Image<const std::int32_t> capacity, Direction direction, std::ptrdiff_t x_begin,
              std::ptrdiff_t x_end, std::ptrdiff_t y_end);
    Path grow(Index node);
    std::int64_t augment(const Path& path);
    void adopt();
    void adopt_one(Index node);
    std::int32_t rooted_depth(Index node) const;
    void mark_rooted(Index node, std::int32_t depth);

    void activate(Index node);
    void orphan(Index node);
    Index neighbour(Index node, int direction) const { return node + offset_[direction]; }
    // Residual capacity from a tree's node towards its leaves' side: out of it for the source tree,
    // into it for the sink tree.
    std::uint32_t outward(Index node, int direction, Tree tree) const {
        return tree == kSource ? residuals_[node].to[direction]
                               : residuals_[neighbour(node, direction)].to[direction ^ 1];
    }

    Index stride_ = 0;
    Index offset_[kDirections] = {};
    std::vector<Residuals> residuals_;
    std::vector<Node> nodes_;
    std::vector<Index> active_;  // a ring: no node is in it twice
    std::size_t active_begin_ = 0;
    std::size_t active_count_ = 0;
    std::vector<Index> orphans_;
    std::size_t orphans_done_ = 0;
    std::int64_t time_ = 0;
};

}  // namespace dsnet
