// What a solve of matting works on: which blocks of the image, the levels above it, their memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/plane_arena.h"
#include "matting/simd.h"

namespace dsnet {

// Which blocks of columns a grid works on.
struct BlockMap {
    std::ptrdiff_t width = kLanes;  // of a block; kLanes or half of them
    std::ptrdiff_t rows = 0;
    std::ptrdiff_t blocks = 0;       // in all they are as wide as a multiple of kLanes
    std::vector<std::uint8_t> used;  // with a border of two rows and two blocks

    void resize(std::ptrdiff_t rows, std::ptrdiff_t blocks);
    std::ptrdiff_t stride() const { return blocks + 4; }
    std::uint8_t* row(std::ptrdiff_t y) { return used.data() + (y + 2) * stride() + 2; }
    const std::uint8_t* row(std::ptrdiff_t y) const { return used.data() + (y + 2) * stride() + 2; }
};

// Where a trimap is unknown: a bit a pixel, whole words a row.
struct UnknownBits {
    std::ptrdiff_t words = 0;
    std::vector<std::uint64_t> bits;

    const std::uint64_t* row(std::ptrdiff_t y) const { return bits.data() + y * words; }
    // Of the row `y` those of the columns from `from` on, which may lie outside.
    std::uint64_t at(std::ptrdiff_t y, std::ptrdiff_t from) const {
        const std::ptrdiff_t word = from >> 6, first = from & 63;
        const auto bits_of = [&](std::ptrdiff_t at) {
            return at >= 0 && at < words ? row(y)[at] : 0;
        };
        const std::uint64_t low = bits_of(word) >> first;
        return first == 0 ? low : low | bits_of(word + 1) << (64 - first);
    }
};

struct CoarseLevel {
    CoarseGrid grid;
    BlockMap map;  // non-zero where a node is
    std::vector<Run> nodes;
    std::vector<Run> around;  // nodes and what their neighbours are read from
    std::vector<Run> halo;    // the latter alone: zeros on every plane
};

// Memory of a solve, reused from call to call; it serves one thread at a time.
struct MattingWorkspace {
    PlaneArena<double> doubles;
    PlaneArena<float> floats, level_floats;
    UnknownBits unknown;
    BlockMap map, window_map;
    std::vector<std::uint8_t> bytes;  // scratch
    std::vector<Run> windows, pixels;
    std::vector<Run> around, halo;  // as in CoarseLevel, of the pixels
    std::vector<Shaft> window_shafts, pixel_shafts;
    FineGrid fine;
    std::vector<CoarseLevel> levels;
    std::size_t level_count = 0;
    std::vector<std::ptrdiff_t> coarsest_nodes;
    std::vector<double> coarsest, coarsest_x;  // Cholesky factor by rows, and a right hand side
    float* moments[kMomentPlanes];
    double *b, *r, *q, *d, *x, *x_before;
    float *known, *prior, *r32, *z, *rest;
};

}  // namespace dsnet
