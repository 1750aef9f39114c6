#include "matting/layout.h"

#include <algorithm>
#include <cstring>

#include "matting/planes_simd.h"

namespace dsnet {
namespace {

// Bits of the pixels' block map: an unknown pixel anywhere, in the first, in the last column.
constexpr std::uint8_t kAny = 1, kFirstColumn = 2, kLastColumn = 4;

template <typename Used>
void collect_runs(std::vector<Run>& runs, std::ptrdiff_t row, std::ptrdiff_t first,
                  std::ptrdiff_t last, std::ptrdiff_t width, Used used) {
    for (std::ptrdiff_t block = first; block < last; ++block) {
        if (!used(block)) continue;
        const auto begin = static_cast<std::int32_t>(block * width);
        while (block < last && used(block)) ++block;
        runs.push_back(
            {static_cast<std::int32_t>(row), begin, static_cast<std::int32_t>(block * width)});
    }
}

// Calls body(top, bottom) for each stretch of rows between `begin` and `end` that are used.
template <typename Used, typename Body>
void each_stretch(std::ptrdiff_t begin, std::ptrdiff_t end, Used used, Body body) {
    for (std::ptrdiff_t y = begin; y < end; ++y) {
        if (!used(y)) continue;
        const std::ptrdiff_t top = y;
        while (y < end && used(y)) ++y;
        body(top, y);
    }
}

// kLanes columns at a time, whose stretches of rows come one after the other: sums over shafts are
// then the same for blocks of any width.
void collect_shafts(std::vector<Shaft>& shafts, const BlockMap& map) {
    shafts.clear();
    const std::ptrdiff_t group = kLanes / map.width;
    for (std::ptrdiff_t first = 0; first < map.blocks; first += group) {
        const auto any = [&](std::ptrdiff_t y) {
            std::uint8_t used = 0;
            for (std::ptrdiff_t k = 0; k < group; ++k) used |= map.row(y)[first + k];
            return used != 0;
        };
        each_stretch(0, map.rows, any, [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
            for (std::ptrdiff_t block = first; block < first + group; ++block)
                each_stretch(
                    begin, end, [&](std::ptrdiff_t y) { return map.row(y)[block] != 0; },
                    [&](std::ptrdiff_t top, std::ptrdiff_t bottom) {
                        shafts.push_back({static_cast<std::int32_t>(block * map.width),
                                          static_cast<std::int32_t>((block + 1) * map.width),
                                          static_cast<std::int32_t>(top),
                                          static_cast<std::int32_t>(bottom)});
                    });
        });
    }
}

void collect_rows(std::vector<Run>& runs, const BlockMap& map) {
    runs.clear();
    for (std::ptrdiff_t y = 0; y < map.rows; ++y)
        collect_runs(runs, y, 0, map.blocks, map.width,
                     [&](std::ptrdiff_t b) { return map.row(y)[b] != 0; });
}

}  // namespace

void BlockMap::resize(std::ptrdiff_t rows_, std::ptrdiff_t blocks_) {
    rows = rows_;
    blocks = blocks_;
    used.assign(static_cast<std::size_t>((rows + 4) * stride()), 0);
}

TrimapCensus take_census(Image<const std::uint8_t> trimap, UnknownBits& unknown) {
    constexpr std::ptrdiff_t kWordBits = 64;
    TrimapCensus census;
    unknown.words = (trimap.cols + kWordBits - 1) / kWordBits;
    unknown.bits.resize(static_cast<std::size_t>(trimap.rows * unknown.words));
    const PixelCounts counts = planes_simd().count(trimap, unknown.words, unknown.bits.data());
    census.background = counts.background;
    census.foreground = counts.foreground;
    census.unknowns = counts.unknown;
    census.valid = counts.background + counts.foreground + counts.unknown == trimap.size();
    if (counts.unknown == 0) return census;
    census.top = trimap.rows;
    census.left = trimap.cols;
    for (std::ptrdiff_t y = 0; y < trimap.rows; ++y) {
        const std::uint64_t* row = unknown.row(y);
        // The pixel before a word's; before the first column it is like the first one.
        std::uint64_t before = row[0] & 1;
        for (std::ptrdiff_t word = 0; word < unknown.words; ++word) {
            const std::uint64_t bits = row[word];
            const std::ptrdiff_t first = word * kWordBits;
            const std::ptrdiff_t left = trimap.cols - first;
            const std::uint64_t kept = left < kWordBits ? (std::uint64_t{1} << left) - 1 : ~0ull;
            census.changes += __builtin_popcountll((bits ^ (bits << 1 | before)) & kept);
            before = bits >> (kWordBits - 1);
            if (bits == 0) continue;
            census.top = std::min(census.top, y);
            census.bottom = y + 1;
            census.left = std::min(census.left, first + __builtin_ctzll(bits));
            census.right = std::max(census.right, first + kWordBits - __builtin_clzll(bits));
        }
    }
    return census;
}

void map_pixels(const TrimapCensus& census, const UnknownBits& unknown, std::ptrdiff_t width,
                MattingWorkspace& workspace) {
    const std::ptrdiff_t rows = census.bottom - census.top + 2;
    const std::ptrdiff_t cols = census.right - census.left + 2;
    BlockMap& map = workspace.map;
    map.width = width;
    map.resize(rows, (cols + kLanes - 1) / kLanes * (kLanes / width));
    const std::uint64_t block_bits = (std::uint64_t{1} << width) - 1;
    for (std::ptrdiff_t y = census.top; y < census.bottom; ++y) {
        std::uint8_t* used = map.row(y - census.top + 1);
        for (std::ptrdiff_t block = 0; block < map.blocks; ++block) {
            // Column 0 of the grid is the one left of the first unknown one.
            const std::uint64_t bits = unknown.at(y, census.left - 1 + block * width) & block_bits;
            if (bits == 0) continue;
            used[block] = static_cast<std::uint8_t>(kAny | (bits & 1 ? kFirstColumn : 0) |
                                                    (bits >> (width - 1) ? kLastColumn : 0));
        }
    }
    BlockMap& windows = workspace.window_map;
    windows.width = width;
    windows.resize(map.rows, map.blocks);
    for (std::ptrdiff_t y = 0; y < rows; ++y) {
        const std::uint8_t* const near[3] = {map.row(y - 1), map.row(y), map.row(y + 1)};
        const auto column = [&](std::ptrdiff_t c) { return near[0][c] | near[1][c] | near[2][c]; };
        std::uint8_t* const used = windows.row(y);
        for (std::ptrdiff_t b = 0; b < map.blocks; ++b)
            used[b] = (column(b) & kAny) || (column(b - 1) & kLastColumn) ||
                      (column(b + 1) & kFirstColumn);
    }
    collect_shafts(workspace.pixel_shafts, map);
    collect_shafts(workspace.window_shafts, windows);
    collect_rows(workspace.pixels, map);
    collect_rows(workspace.windows, windows);
}

void collect_around(const BlockMap& map, std::vector<std::uint8_t>& scratch,
                    std::vector<Run>& around, std::vector<Run>* halo) {
    const std::ptrdiff_t stride = map.stride();
    scratch.assign(static_cast<std::size_t>(stride), 0);
    around.clear();
    if (halo != nullptr) halo->clear();
    for (std::ptrdiff_t y = -2; y < map.rows + 2; ++y) {
        std::fill(scratch.begin(), scratch.end(), std::uint8_t{0});
        const std::ptrdiff_t first = std::max<std::ptrdiff_t>(y - 2, -2);
        const std::ptrdiff_t last = std::min(y + 2, map.rows + 1);
        for (std::ptrdiff_t from = first; from <= last; ++from) {
            const std::uint8_t* row = map.row(from) - 2;
            for (std::ptrdiff_t block = 0; block < stride; ++block) scratch[block] |= row[block];
        }
        const auto near = [&](std::ptrdiff_t b) {
            return scratch[b + 1] || scratch[b + 2] || scratch[b + 3];
        };
        collect_runs(around, y, -1, map.blocks + 1, map.width, near);
        if (halo == nullptr) continue;
        const std::uint8_t* used = map.row(y);
        collect_runs(*halo, y, -1, map.blocks + 1, map.width,
                     [&](std::ptrdiff_t b) { return near(b) && !used[b]; });
    }
}

void map_nodes(const BlockMap& fine, CoarseLevel& level) {
    BlockMap& map = level.map;
    map.resize((fine.rows + 1) / 2, (fine.blocks + 1) / 2);
    for (std::ptrdiff_t y = 0; y < map.rows; ++y) {
        const std::uint8_t* upper = fine.row(2 * y);
        const std::uint8_t* lower = fine.row(2 * y + 1);
        std::uint8_t* used = map.row(y);
        for (std::ptrdiff_t b = 0; b < map.blocks; ++b)
            used[b] = (upper[2 * b] | upper[2 * b + 1] | lower[2 * b] | lower[2 * b + 1]) != 0;
    }
    collect_rows(level.nodes, map);
}

}  // namespace dsnet
