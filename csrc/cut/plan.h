// What follows from a mark alone: the seeds of its cut and the area to compare it with; and what
// the CPU tells a GPU of it, some hundred bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/image.h"
#include "edge/curve.h"

namespace dsnet {

struct RecistMark;

// Why a cut cannot work; it is the axes' ellipse then.
enum class CutFallback : std::int32_t { kNone, kContrast, kNoSeeds, kArea };

struct CutPlan {
    // The window that can hold the lesion begins here.
    std::int32_t top, left;
    EdgePlan edge;        // without rows the image is left alone
    std::int32_t seeded;  // whether a seed lies in the image
    std::int32_t area;    // of the axes' ellipse
    // The axes' ellipse as it is drawn: unit vectors along its axes, half their lengths.
    double along[2], across[2], centre[2];  // x, y
    double half_along, half_across;
    double hull[8];        // x, y of the end points' hull's corners
    std::int32_t corners;  // how many it has
    std::int32_t unused;
};

// What a cut came to, as CutOutcome.
struct CutResult {
    double value, expected_dice;
    std::int32_t fallback;  // CutFallback, or kCutUnwanted by a plan without rows
    std::int32_t unused;
};
inline constexpr std::int32_t kCutUnwanted = -1;

// The inner part of the axes, which is sure lesion.
RecistMark inner_axes(const RecistMark& mark);
// Pixels of the axes' ellipse, or else of their quadrilateral, with which the cut's area is
// compared; at least 1.
std::ptrdiff_t marked_area(const RecistMark& mark, std::ptrdiff_t rows, std::ptrdiff_t cols);

// Of a usable mark that touches an image of at least 3 x 3. Writes its seeds whole: rows of
// (cols + 63) / 64 words.
CutPlan plan_cut(const RecistMark& mark, std::ptrdiff_t rows, std::ptrdiff_t cols,
                 std::uint64_t* seeds);

}  // namespace dsnet
