// The preconditioner of closed-form matting: a cycle over grids of aggregates.
#pragma once

#include "matting/workspace.h"

namespace dsnet {

// Builds the hierarchy over the unknown pixels of `workspace.fine`.
void build_multigrid(MattingWorkspace& workspace);
// z = one cycle on r, with q . z and r . z and the largest |z| in `sums`, see `smooth_last`.
void run_multigrid(MattingWorkspace& workspace, double sums[3]);

}  // namespace dsnet
