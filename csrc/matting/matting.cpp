#include "matting/matting.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "matting/layout.h"
#include "matting/multigrid.h"
#include "matting/numbers.h"
#include "matting/planes_simd.h"

namespace dsnet {
namespace {

// Where the unknown region is narrow or small the diagonal is enough: a hierarchy costs as much as
// some twenty of its iterations. On rings the two break even at a half width of about 8 pixels, for
// 1000 as for 10000 unknowns, which is a run of 25 along the rows (python -m bench.matting).
constexpr std::ptrdiff_t kWideRun = 25;
constexpr std::ptrdiff_t kManyUnknowns = 500;
// Besides the residual: the last correction at any pixel. Weakly tied pixels barely show in the
// residual, but the cycle sees them.
constexpr double kLargestCorrection = 5e-4;

// Aggregates two rows beyond the unknown ones look at their windows.
constexpr std::ptrdiff_t kGuardRows = 6;

Runs runs_of(const std::vector<Run>& runs) {
    return {runs.data(), static_cast<std::ptrdiff_t>(runs.size())};
}

void clear(const Runs& runs, std::ptrdiff_t stride, float* plane) {
    planes_simd().clear_float(runs, stride, plane);
}
void clear(const Runs& runs, std::ptrdiff_t stride, double* plane) {
    planes_simd().clear_double(runs, stride, plane);
}

// Planes for the fine grid.
void lay_out(MattingWorkspace& workspace, bool multigrid) {
    FineGrid& grid = workspace.fine;
    const BlockMap& map = workspace.map;
    // An odd number of blocks keeps a shaft's rows from falling on the same cache sets.
    const std::ptrdiff_t stride = ((map.blocks * map.width / kLanes + 6) | 1) * kLanes;
    const std::ptrdiff_t size = (workspace.map.rows + 2 * kGuardRows) * stride;
    grid.stride = stride;
    grid.windows = runs_of(workspace.windows);
    grid.pixels = runs_of(workspace.pixels);
    const auto shafts = [](const std::vector<Shaft>& of) {
        return Shafts{of.data(), static_cast<std::ptrdiff_t>(of.size())};
    };
    grid.window_shafts = shafts(workspace.window_shafts);
    grid.pixel_shafts = shafts(workspace.pixel_shafts);
    const auto carve = [&](auto* memory, const std::vector<Run>* cleared, auto&... planes) {
        auto* next = memory + kGuardRows * stride + 2 * kLanes;
        const auto one = [&](auto*& plane) {
            plane = next;
            next += size;
        };
        (one(planes), ...);
        if (cleared != nullptr) (clear(runs_of(*cleared), stride, planes), ...);
        return next - kGuardRows * stride - 2 * kLanes;
    };
    // Planes that are written wherever a pixel or window is before they are read need zeros only
    // around those, and none where what is read there is thrown away.
    const std::vector<Run>* const halo = multigrid ? &workspace.halo : nullptr;
    workspace.doubles.reserve(static_cast<std::size_t>(10 * size));
    double* doubles = workspace.doubles.data();
    doubles = carve(doubles, &workspace.around, workspace.d, workspace.x);
    doubles = carve(doubles, halo, grid.slope, grid.offset);
    carve(doubles, nullptr, workspace.x_before, grid.mean, grid.gain, workspace.b, workspace.r,
          workspace.q);
    workspace.floats.reserve(static_cast<std::size_t>(14 * size));
    float* floats = workspace.floats.data();
    float* grey = nullptr;
    floats = carve(floats, &workspace.around, grid.count);
    floats = carve(floats, halo, grid.slope32, grid.offset32, workspace.z, workspace.rest);
    carve(floats, nullptr, grey, workspace.known, grid.mean32, grid.mean_rest, grid.gain32,
          grid.ninth, grid.relax, workspace.r32, workspace.prior);
    grid.grey = grey;
    if (!multigrid) grid.mean32 = workspace.r32 = nullptr;
}

// x = 0, r = b, and conjugate gradients from there. As the residual's recurrence drifts from the
// truth, it is computed anew at the end and, while that helps, the method starts again from there.
class ConjugateGradients {
  public:
    ConjugateGradients(MattingWorkspace& workspace, double rtol, int max_iterations, bool multigrid)
        : w_(workspace),
          simd_(matting_simd()),
          rtol_(rtol),
          max_iterations_(max_iterations),
          multigrid_(multigrid) {}

    // The right hand side has norm 1. Returns the true residual; `made` counts the iterations.
    double run(double correction_unit, int& made) {
        double norm = 1.0;
        for (made = 0; norm > rtol_ && made < max_iterations_;) {
            const double before = norm;
            const bool from_zero = made == 0;
            if (!from_zero) keep_before();
            descend(before, correction_unit, made);
            norm = std::sqrt(simd_.residual(w_.fine, w_.x, w_.b, w_.q, w_.r));
            if (norm < 0.5 * before) continue;
            if (!(norm < before)) {
                if (from_zero)
                    clear(runs_of(w_.around), w_.fine.stride, w_.x);
                else
                    std::swap(w_.x, w_.x_before);
                norm = simd_.residual(w_.fine, w_.x, w_.b, w_.q, w_.r);
                norm = std::sqrt(norm);
            }
            // Where the cycle gets no further the diagonal may.
            if (!multigrid_ || norm <= rtol_) break;
            multigrid_ = false;
        }
        return norm;
    }

  private:
    // What x is, to go back to.
    void keep_before() {
        clear(runs_of(w_.around), w_.fine.stride, w_.x_before);
        std::swap(w_.x, w_.x_before);
        for (const Run& run : w_.pixels) {
            const std::ptrdiff_t begin = run.row * w_.fine.stride + run.begin;
            std::memcpy(w_.x + begin, w_.x_before + begin,
                        sizeof(double) * static_cast<std::size_t>(run.end - run.begin));
        }
    }

    void descend(double norm, double correction_unit, int& made) {
        double sums[3] = {0.0, 0.0, 0.0};
        double step[2];
        // A step of zero brings r to float32 and measures it.
        simd_.step(w_.fine, 0.0, w_.d, w_.q, w_.x, w_.r, w_.r32, step);
        double energy = precondition(step, sums);
        if (multigrid_)
            simd_.direction(w_.fine, w_.z, 0.0, w_.d);
        else
            simd_.direction_jacobi(w_.fine, w_.r, 0.0, w_.d);
        while (made < max_iterations_) {
            const double curvature = simd_.apply(w_.fine, w_.d, w_.q);
            if (!(curvature > 0 && energy > 0)) return;  // breakdown by rounding
            const double alpha = energy / curvature;
            simd_.step(w_.fine, alpha, w_.d, w_.q, w_.x, w_.r, w_.r32, step);
            ++made;
            norm = std::sqrt(step[0]);
            const bool settled = sums[2] * correction_unit <= kLargestCorrection;
            if (norm <= rtol_ && settled) return;
            // Far below what was asked for, the correction has nothing more to say.
            if (norm <= 1e-3 * rtol_) return;
            const double previous = energy;
            energy = precondition(step, sums);
            // The cycle runs in float32: this form of beta allows for its being only nearly the
            // same linear map each time.
            const double beta = multigrid_ ? std::max(-alpha * sums[1] / previous, 0.0)
                                           : energy / previous;
            if (multigrid_)
                simd_.direction(w_.fine, w_.z, beta, w_.d);
            else
                simd_.direction_jacobi(w_.fine, w_.r, beta, w_.d);
        }
    }

    double precondition(const double step[2], double sums[3]) {
        if (!multigrid_) return step[1];
        run_multigrid(w_, sums);
        return sums[0];
    }

    MattingWorkspace& w_;
    const MattingSimd& simd_;
    double rtol_;
    int max_iterations_;
    bool multigrid_;
};

double squares_of(const MattingWorkspace& workspace) {
    double squares = 0.0;
    for (const Run& run : workspace.pixels) {
        const double* x = workspace.x + run.row * workspace.fine.stride;
        const float* count = workspace.fine.count + run.row * workspace.fine.stride;
        for (std::ptrdiff_t i = run.begin; i < run.end; ++i)
            squares += count[i] > 0 ? x[i] * x[i] : 0.0;
    }
    return squares;
}

}  // namespace

MattingOutcome solve_matting(Image<const float> image, Image<const std::uint8_t> trimap,
                             Image<const float> prior, const MattingOptions& options,
                             MattingWorkspace& workspace, Image<float> alpha) {
    MattingOutcome outcome;
    const TrimapCensus census = take_census(trimap, workspace.unknown);
    if (!census.valid) {
        outcome.valid = false;
        return outcome;
    }
    // Without foreground alpha is 0, without background 1, without either open.
    const float open = census.background > 0 ? 0.0f : census.foreground > 0 ? 1.0f : 0.5f;
    const PlanesSimd& planes = planes_simd();
    planes.write_known(trimap, open, alpha);
    outcome.unknowns = census.unknowns;
    if (census.unknowns == 0) return outcome;
    if (census.foreground == 0 || census.background == 0) return outcome;

    const bool has_prior = prior.data != nullptr;
    bool multigrid = options.preconditioner == Preconditioner::kMultigrid;
    // A prior's weight on the diagonal leaves little to precondition.
    if (options.preconditioner == Preconditioner::kAuto)
        multigrid = !has_prior && census.unknowns > kManyUnknowns &&
                    2 * census.unknowns > kWideRun * census.changes;
    // The hierarchy, and who is untied, are told by whole blocks of windows.
    map_pixels(census, workspace.unknown, multigrid || !has_prior ? kLanes : kLanes / 2, workspace);
    collect_around(workspace.map, workspace.bytes, workspace.around,
                   multigrid ? &workspace.halo : nullptr);
    lay_out(workspace, multigrid);
    const double prior_weight = has_prior ? options.prior_weight : 0.0;
    workspace.fine.weight = prior_weight;
    const MattingSimd& simd = matting_simd();
    const FineGrid& grid = workspace.fine;
    const PlaneOrigin origin = {census.top - 1, census.left - 1, grid.stride};
    planes.fill_around(runs_of(workspace.around), origin, image, trimap,
                       const_cast<float*>(grid.grey), workspace.known);
    planes.fill_pixels(grid.pixels, origin, trimap, prior, grid.count, workspace.prior);
    const std::int32_t rows[2] = {static_cast<std::int32_t>(2 - census.top),
                                  static_cast<std::int32_t>(image.rows - census.top)};
    const std::int32_t cols[2] = {static_cast<std::int32_t>(2 - census.left),
                                  static_cast<std::int32_t>(image.cols - census.left)};
    simd.statistics(grid, options.epsilon, rows, cols);
    const bool few = std::min(census.foreground, census.background) < kFewKnown;
    const bool untied = !has_prior && (few || simd.finds_untied(grid));
    const double rtol = untied ? std::min(options.rtol, kUntiedRtol) : options.rtol;
    simd.weigh_smoother(grid);
    const double norm = std::sqrt(
        simd.right_side(grid, workspace.known, has_prior ? workspace.prior : nullptr, workspace.b));

    outcome.preconditioner = multigrid ? Preconditioner::kMultigrid : Preconditioner::kJacobi;
    if (!(norm > 0)) return outcome;  // nothing draws alpha away from 0
    simd.scale(grid, 1.0 / norm, workspace.b, workspace.r);
    if (multigrid) build_multigrid(workspace);
    ConjugateGradients solver(workspace, rtol, options.max_iterations, multigrid);
    outcome.residual = solver.run(norm, outcome.iterations);
    planes.write_solved(grid.pixels, origin, workspace.x, grid.count, norm, alpha);
    outcome.converged =
        outcome.residual <= (untied ? std::min(options.rtol, kUntiedSlack * rtol) : rtol) ||
        outcome.residual <= kRounding * (9.0 + prior_weight) * std::sqrt(squares_of(workspace));
    return outcome;
}

}  // namespace dsnet
