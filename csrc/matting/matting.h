// Closed-form matting of one channel (Levin, Lischinski, Weiss, "A closed-form solution to natural
// image matting", 2008): the known pixels are eliminated, the unknown ones solved by conjugate
// gradients in float64, preconditioned by their diagonal or by a multigrid cycle in float32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/image.h"
#include "matting/simd.h"
#include "base/plane_arena.h"

namespace dsnet {

enum class Preconditioner { kAuto, kJacobi, kMultigrid };

struct MattingOptions {
    double epsilon = 1e-7;
    // Stop at ||b - A x|| <= rtol ||b||.
    double rtol = 3e-6;
    int max_iterations = 1000;
    double prior_weight = 0.0;
    Preconditioner preconditioner = Preconditioner::kAuto;
};

struct MattingOutcome {
    Preconditioner preconditioner = Preconditioner::kAuto;  // kAuto: no system to solve
    int iterations = 0;
    double residual = 0.0;  // ||b - A x|| / ||b||, computed anew from the solution
    bool converged = true;
    std::ptrdiff_t unknowns = 0;
    bool valid = true;  // false, and nothing done, for a trimap of other values than 0, 128, 255
};

// Which blocks of kLanes columns a grid works on.
struct BlockMap {
    std::ptrdiff_t rows = 0;
    std::ptrdiff_t blocks = 0;
    std::vector<std::uint8_t> used;  // with a border of two rows and two blocks

    void resize(std::ptrdiff_t rows, std::ptrdiff_t blocks);
    std::ptrdiff_t stride() const { return blocks + 4; }
    std::uint8_t* row(std::ptrdiff_t y) { return used.data() + (y + 2) * stride() + 2; }
    const std::uint8_t* row(std::ptrdiff_t y) const {
        return used.data() + (y + 2) * stride() + 2;
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
    BlockMap map;
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

// Writes alpha for the whole image: 1 and 0 where the trimap knows, the solution within 0..1 where
// it does not. Images must be at least 3 x 3, values and `prior` (may be without data) finite.
MattingOutcome solve_matting(Image<const float> image, Image<const std::uint8_t> trimap,
                             Image<const float> prior, const MattingOptions& options,
                             MattingWorkspace& workspace, Image<float> alpha);

}  // namespace dsnet
