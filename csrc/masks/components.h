// Connected parts of masks, by runs and union-find.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/image.h"
#include "masks/bits.h"

namespace dsnet {

enum class Connectivity { kFour, kEight };

// Pixels `begin` to `end` of a row. `part`: the first run, in reading order, of the part that it
// belongs to.
struct PixelRun {
    std::int32_t row, begin, end;
    std::int32_t part;
};

// Buffers that are reused from call to call and only grow; one for each thread.
struct ComponentsWorkspace {
    std::vector<std::uint64_t> words;
    std::vector<PixelRun> runs;
    std::vector<std::int64_t> votes;  // one a run; only those at a part's first run count
};

// Runs of a plane (or of what it leaves unset) and the parts that they form. The parts are in the
// order of their first pixels, as scipy.ndimage.label numbers them. Returns how many parts.
std::int32_t connected_runs(const BitPlane& plane, bool set, Connectivity connectivity,
                            ComponentsWorkspace& workspace);

// Pixels of the largest part.
std::int64_t largest_part(const BitPlane& plane, Connectivity connectivity,
                          ComponentsWorkspace& workspace);

// Sets the pixels that are not 4-connected to the image's border outside the mask, as
// scipy.ndimage.binary_fill_holes does. Pixels that are set keep their value, others become 1.
void fill_holes(Image<std::uint8_t> mask, ComponentsWorkspace& workspace);

// Of several 4-connected parts keeps the one with the most seeds (the first of them in reading
// order), or the largest where none has a seed.
void keep_seeded_part(Image<std::uint8_t> mask, Image<const std::uint8_t> seeds,
                      ComponentsWorkspace& workspace);

}  // namespace dsnet
