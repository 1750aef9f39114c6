// Hot loops of closed-form matting on one channel: the fine operator without a matrix, and the
// stencils of the coarse levels. See matting.h for the method.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/lanes.h"
#include "base/vector_unit.h"

namespace dsnet {

// The pixels' grid. All planes share one stride and can be read one row and kLanes columns beyond
// it. A window is named by its centre.
struct FineGrid {
    std::ptrdiff_t stride;
    Runs windows;                        // hold every window that touches an unknown pixel
    Runs pixels;                         // hold every unknown pixel
    Shafts window_shafts, pixel_shafts;  // the same blocks
    const float* grey;
    double* mean;      // of a window's grey values
    double* gain;      // 1 / (9 variance + epsilon); 0 where no window fits
    float* mean32;     // the mean, rounded; null where there are no coarse levels
    float* mean_rest;  // what the rounding left; of coarse levels, as gain32
    float* gain32;
    float* ninth;   // 1 / 9; 0 where no window fits
    float* count;   // windows around an unknown pixel; 0 elsewhere
    double weight;  // the prior's, added to the counts
    float* relax;   // the smoother's step, see `weigh_smoother`; 0 elsewhere
    double* slope;  // of a window's regression of alpha on grey
    double* offset;
    float* slope32;
    float* offset32;
};

// Factor to the smoother's step.
inline constexpr float kRelaxation = 1.3f;

// Planes of a coarse level's symmetric operator: 2 x 2 blocks of each node with itself (three
// entries) and with its right, lower, lower right and lower left neighbour (four each).
inline constexpr int kStencilPlanes = 19;

// A grid of aggregates; each node has two unknowns, for the near-nullspace's two vectors.
struct CoarseGrid {
    std::ptrdiff_t stride;
    Runs nodes;
    float* stencil[kStencilPlanes];
    float* relax[2];
    float* count;     // pixels below a node
    float* grey;      // their mean grey value
    float* spread;    // sum of squares around it
    float* scale[2];  // one over the norms of 1 and of grey - mean; 0 where there is nothing
    // From the node above: value[0] = up[0] c0 + up[1] c1, value[1] = up[2] c1.
    float* up[3];
    float* rhs[2];
    float* x[2];
    float* held[2];
    float* rest[2];  // residual
};

// Scratch planes for `assemble_pixels`: count, sum and sum of squares of the nine parts of an
// aggregate that a window can cover; mean (and what rounding left of it) and gain of the windows of
// each parity of row and column, so that neighbouring aggregates find theirs side by side.
inline constexpr int kMomentPlanes = 27;
inline constexpr int kParityPlanes = 12;

struct MattingSimd {
    // Fills mean, gain and their like. Windows fit in rows and columns within these bounds.
    void (*statistics)(const FineGrid& grid, double epsilon, const std::int32_t rows[2],
                       const std::int32_t cols[2]);
    // Whether a window holds nothing but two grey values, within kSameGrey of their difference.
    // Where such windows meet, alpha can follow that difference in a few pixels at almost no cost,
    // and a residual hides it.
    bool (*finds_untied)(const FineGrid& grid);
    // relax = 1 / min(count + weight, 2 A_ii). A window's matrix is at most the identity, so that
    // one over the first is a safe step; a pixel unlike all around it is all but untied, and needs
    // the longer one.
    void (*weigh_smoother)(const FineGrid& grid);
    // b = -L known at the unknown pixels, plus weight * prior; returns b . b.
    double (*right_side)(const FineGrid& grid, const float* known, const float* prior, double* b);
    // q = A p; returns p . q.
    double (*apply)(const FineGrid& grid, const double* p, double* q);
    // r = b - A x; returns r . r.
    double (*residual)(const FineGrid& grid, const double* x, const double* b, double* q,
                       double* r);
    // d = z + beta d, and with the Jacobi preconditioner z = relax r.
    void (*direction)(const FineGrid& grid, const float* z, double beta, double* d);
    void (*direction_jacobi)(const FineGrid& grid, const double* r, double beta, double* d);
    // x += alpha d, r -= alpha q, r32 = r unless it is null; sums: r . r and r . relax r.
    void (*step)(const FineGrid& grid, double alpha, const double* d, const double* q, double* x,
                 double* r, float* r32, double sums[2]);
    // b *= factor; r = b.
    void (*scale)(const FineGrid& grid, double factor, double* b, double* r);

    // z = relax r; rest = r - A z.
    void (*smooth_first)(const FineGrid& grid, const float* r, float* z, float* rest);
    // z += relax (r - A z); sums: z . r, z . q, and the largest |z|.
    void (*smooth_last)(const FineGrid& grid, const float* r, const double* q, float* z,
                        double sums[3]);
};

DSNET_VECTOR_TABLE(MattingSimd, matting_simd)

struct CoarseningSimd {
    // Aggregates of 2 x 2 pixels or nodes: what lies below them and how it is reached.
    void (*gather_pixels)(const FineGrid& fine, const CoarseGrid& coarse, float* const* moments);
    void (*gather_nodes)(const CoarseGrid& fine, const CoarseGrid& coarse);
    // The Galerkin operator P^T A P. `around` holds the nodes and their neighbours.
    void (*assemble_pixels)(const FineGrid& fine, const CoarseGrid& coarse, const Runs& around,
                            float* const* moments, float* const* parity);
    void (*assemble_nodes)(const CoarseGrid& fine, const CoarseGrid& coarse);
    void (*weigh_smoother)(const CoarseGrid& grid);
};

DSNET_VECTOR_TABLE(CoarseningSimd, coarsening_simd)

struct MultigridSimd {
    void (*restrict_pixels)(const FineGrid& fine, const float* rest, const CoarseGrid& coarse);
    void (*prolong_pixels)(const FineGrid& fine, const CoarseGrid& coarse, float factor, float* z);
    void (*restrict_nodes)(const CoarseGrid& fine, const CoarseGrid& coarse);
    void (*prolong_nodes)(const CoarseGrid& fine, const CoarseGrid& coarse, float factor);

    void (*start)(const CoarseGrid& grid);     // x = relax rhs
    void (*residual)(const CoarseGrid& grid);  // rest = rhs - A x
    void (*correct)(const CoarseGrid& grid);   // x += relax rest
    void (*add_held)(const CoarseGrid& grid);  // x += held
};

DSNET_VECTOR_TABLE(MultigridSimd, multigrid_simd)

}  // namespace dsnet
