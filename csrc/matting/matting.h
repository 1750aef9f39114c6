// Closed-form matting of one channel (Levin, Lischinski, Weiss, "A closed-form solution to natural
// image matting", 2008).
//
// The known pixels are eliminated, the unknown ones solved by conjugate gradients in float64,
// preconditioned by their diagonal or by a multigrid cycle in float32.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/image.h"
#include "matting/workspace.h"

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

// Writes alpha for the whole image: 1 and 0 where the trimap knows, the solution within 0..1 where
// it does not. Images must be at least 3 x 3, values and `prior` (may be without data) finite.
MattingOutcome solve_matting(Image<const float> image, Image<const std::uint8_t> trimap,
                             Image<const float> prior, const MattingOptions& options,
                             MattingWorkspace& workspace, Image<float> alpha);

}  // namespace dsnet
