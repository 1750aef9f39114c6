// Exact minimum cut of an 8-connected grid.
#pragma once

#include <cstdint>

#include "cut/boykov_kolmogorov.h"
#include "base/image.h"

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

struct GridNeighbours {
    std::int32_t offset[8] = {};
    std::int32_t operator()(std::int32_t node, int direction) const {
        return node + offset[direction];
    }
};

// An object keeps its memory from one call to the next; it serves one thread at a time.
class GridMaxFlow : private BoykovKolmogorov<GridNeighbours> {
  public:
    // Returns the flow and writes 1 where residual capacity still leads from the source to the
    // pixel: the smallest source side of all minimum cuts, which is unique.
    std::int64_t solve(const GridCapacities& capacities, Image<std::uint8_t> source_side);

  private:
    std::int64_t load(const GridCapacities& capacities);
    void link(Image<const std::int32_t> capacity, Direction direction, std::ptrdiff_t x_begin,
              std::ptrdiff_t x_end, std::ptrdiff_t y_end);

    Index stride_ = 0;
};

}  // namespace dsnet
