// Where the unknown pixels of a trimap are, and which blocks of the planes are worked on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/image.h"
#include "matting/workspace.h"

namespace dsnet {

// What a trimap holds, and the box around its unknown pixels.
struct TrimapCensus {
    std::ptrdiff_t background = 0;  // pixels
    std::ptrdiff_t foreground = 0;
    std::ptrdiff_t unknowns = 0;
    std::ptrdiff_t changes = 0;  // between unknown and known, along the rows
    bool valid = true;           // nothing but 0, 128 and 255
    std::ptrdiff_t top = 0, bottom = 0, left = 0, right = 0;
};

TrimapCensus take_census(Image<const std::uint8_t> trimap, UnknownBits& unknown);

// The grid begins one row and one column before the box, and ends one after it. Fills the map by
// blocks of `width` columns, and the runs that hold every unknown pixel and every window that
// touches one.
void map_pixels(const TrimapCensus& census, const UnknownBits& unknown, std::ptrdiff_t width,
                MattingWorkspace& workspace);
// The runs within two rows and one block of a used one, which is as far as neighbours are read;
// `halo`, unless it is null: those of them that are not used themselves.
void collect_around(const BlockMap& map, std::vector<std::uint8_t>& scratch,
                    std::vector<Run>& around, std::vector<Run>* halo);
// The map and runs of the aggregates of 2 x 2.
void map_nodes(const BlockMap& fine, CoarseLevel& level);

}  // namespace dsnet
