#include "masks/components.h"

#include <algorithm>
#include <cstring>

#include "masks/simd.h"

namespace dsnet {
namespace {

std::int32_t part_of(std::vector<PixelRun>& runs, std::int32_t run) {
    while (runs[run].part != run) {
        runs[run].part = runs[runs[run].part].part;
        run = runs[run].part;
    }
    return run;
}

// The first run stands for a part, so that parts keep the order of their first pixels.
void join(std::vector<PixelRun>& runs, std::int32_t a, std::int32_t b) {
    a = part_of(runs, a);
    b = part_of(runs, b);
    if (a < b)
        runs[b].part = a;
    else
        runs[a].part = b;
}

void append_runs(const BitPlane& plane, std::ptrdiff_t y, std::uint64_t flip,
                 std::vector<PixelRun>& runs) {
    const auto first = static_cast<std::int32_t>(runs.size());
    for (std::ptrdiff_t x = 0; x < plane.cols; x += 64) {
        std::uint64_t word = plane.column(x / 64)[y] ^ flip;
        const std::ptrdiff_t left = plane.cols - x;
        if (left < 64) word &= (std::uint64_t{1} << left) - 1;
        int at = 0;
        while (word != 0) {
            const int begin = __builtin_ctzll(word);
            const std::uint64_t filled = word | ((std::uint64_t{1} << begin) - 1);
            const int end = ~filled == 0 ? 64 : __builtin_ctzll(~filled);
            const auto from = static_cast<std::int32_t>(x + begin);
            const auto to = static_cast<std::int32_t>(x + end);
            const auto count = static_cast<std::int32_t>(runs.size());
            // A run goes on where the last word ended.
            if (at == 0 && begin == 0 && count > first && runs.back().end == from)
                runs.back().end = to;
            else
                runs.push_back({static_cast<std::int32_t>(y), from, to, count});
            at = end;
            if (end == 64) break;
            word &= ~std::uint64_t{0} << end;
        }
    }
}

BitPlane packed(Image<const std::uint8_t> mask, ComponentsWorkspace& workspace) {
    BitPlane plane{nullptr, mask.rows, mask.rows, mask.cols};
    workspace.words.resize(
        std::max(workspace.words.size(), static_cast<std::size_t>(plane.columns() * plane.stride)));
    plane.words = workspace.words.data();
    masks_simd().pack(mask.data, mask.row_stride, plane);
    return plane;
}

Image<const std::uint8_t> read_only(Image<std::uint8_t> mask) {
    return {mask.data, mask.rows, mask.cols, mask.row_stride};
}

}  // namespace

std::int32_t connected_runs(const BitPlane& plane, bool set, Connectivity connectivity,
                            ComponentsWorkspace& workspace) {
    std::vector<PixelRun>& runs = workspace.runs;
    runs.clear();
    const std::uint64_t flip = set ? 0 : ~std::uint64_t{0};
    const std::int32_t slack = connectivity == Connectivity::kEight ? 1 : 0;
    std::size_t above = 0, here = 0;
    for (std::ptrdiff_t y = 0; y < plane.rows; ++y) {
        append_runs(plane, y, flip, runs);
        const std::size_t end = runs.size();
        std::size_t upper = above;
        for (std::size_t run = here; run < end; ++run) {
            while (upper < here && runs[upper].end + slack <= runs[run].begin) ++upper;
            for (std::size_t other = upper;
                 other < here && runs[other].begin < runs[run].end + slack; ++other)
                join(runs, static_cast<std::int32_t>(other), static_cast<std::int32_t>(run));
        }
        above = here;
        here = end;
    }
    std::int32_t parts = 0;
    for (std::size_t run = 0; run < runs.size(); ++run) {
        runs[run].part = runs[runs[run].part].part;
        parts += runs[run].part == static_cast<std::int32_t>(run);
    }
    return parts;
}

std::int64_t largest_part(const BitPlane& plane, Connectivity connectivity,
                          ComponentsWorkspace& workspace) {
    connected_runs(plane, true, connectivity, workspace);
    workspace.votes.assign(workspace.runs.size(), 0);
    std::int64_t largest = 0;
    for (const PixelRun& run : workspace.runs)
        largest = std::max(largest, workspace.votes[run.part] += run.end - run.begin);
    return largest;
}

void fill_holes(Image<std::uint8_t> mask, ComponentsWorkspace& workspace) {
    const BitPlane plane = packed(read_only(mask), workspace);
    const Box box = masks_simd().bounds(plane);
    // A hole needs a pixel on each side.
    if (box.rows() < 3 || box.cols() < 3) return;
    const std::ptrdiff_t first = box.left / 64;
    const BitPlane window{plane.column(first) + box.top, plane.stride, box.rows(),
                          box.right - first * 64};
    connected_runs(window, false, Connectivity::kFour, workspace);
    const std::vector<PixelRun>& runs = workspace.runs;
    // Outside the box everything hangs together with the image's border.
    const auto left = static_cast<std::int32_t>(box.left - first * 64);
    const auto right = static_cast<std::int32_t>(window.cols);
    const auto bottom = static_cast<std::int32_t>(window.rows - 1);
    workspace.votes.assign(runs.size(), 0);
    for (const PixelRun& run : runs)
        if (run.row == 0 || run.row == bottom || run.begin <= left || run.end == right)
            workspace.votes[run.part] = 1;
    for (const PixelRun& run : runs)
        if (workspace.votes[run.part] == 0)
            std::memset(mask.row(box.top + run.row) + first * 64 + run.begin, 1,
                        static_cast<std::size_t>(run.end - run.begin));
}

void keep_seeded_part(Image<std::uint8_t> mask, Image<const std::uint8_t> seeds,
                      ComponentsWorkspace& workspace) {
    const BitPlane plane = packed(read_only(mask), workspace);
    if (connected_runs(plane, true, Connectivity::kFour, workspace) < 2) return;
    const std::vector<PixelRun>& runs = workspace.runs;
    std::vector<std::int64_t>& votes = workspace.votes;
    votes.assign(runs.size(), 0);
    bool seeded = false;
    for (const PixelRun& run : runs) {
        const std::uint8_t* row = seeds.row(run.row);
        for (std::int32_t x = run.begin; x < run.end; ++x) votes[run.part] += row[x] != 0;
        seeded = seeded || votes[run.part] > 0;
    }
    if (!seeded)
        for (const PixelRun& run : runs) votes[run.part] += run.end - run.begin;
    const auto kept =
        static_cast<std::int32_t>(std::max_element(votes.begin(), votes.end()) - votes.begin());
    for (const PixelRun& run : runs)
        if (run.part != kept)
            std::memset(mask.row(run.row) + run.begin, 0,
                        static_cast<std::size_t>(run.end - run.begin));
}

}  // namespace dsnet
