// Plans of cuts that a GPU makes, see cut_plan.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cut_plan.h"
#include "recist.h"

namespace dsnet {

CutConstants cut_constants(const EdgeNetwork& network);

// Of a usable mark that touches an image of at least 3 x 3. Writes its seeds whole: rows of
// (cols + 63) / 64 words.
CutPlan plan_cut(const RecistMark& mark, std::ptrdiff_t rows, std::ptrdiff_t cols,
                 std::uint64_t* seeds);

}  // namespace dsnet
