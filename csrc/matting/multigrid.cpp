#include "matting/multigrid.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "matting/layout.h"

namespace dsnet {
namespace {

// Levels are added until at most this many nodes are left, which a Cholesky factor then solves.
constexpr std::size_t kCoarsestNodes = 16;
// Piecewise constant corrections fall short: a little more speeds the cycle up (Braess, "Towards
// algebraic multigrid for elliptic problems of second order", 1995).
constexpr float kOvercorrection = 1.4f;
// The level just below the pixels is visited once a cycle, each deeper one twice by its upper one;
// on the last two that gains nothing.
constexpr std::size_t kFirstTwice = 1;
constexpr std::size_t kMostLevels = 32;
constexpr int kLevelPlanes = kStencilPlanes + 2 + 3 + 2 + 3 + 8;

std::ptrdiff_t plane_size(const BlockMap& map) {
    return (map.rows + 4) * (map.blocks + 2) * kLanes;
}

void clear_runs(const std::vector<Run>& runs, std::ptrdiff_t stride, float* plane) {
    for (const Run& run : runs)
        std::memset(plane + run.row * stride + run.begin, 0,
                    sizeof(float) * static_cast<std::size_t>(run.end - run.begin));
}

// Gives the level its planes; returns the first float behind them.
float* lay_out(CoarseLevel& level, float* memory) {
    CoarseGrid& grid = level.grid;
    grid.stride = (level.map.blocks + 2) * kLanes;
    grid.nodes = {level.nodes.data(), static_cast<std::ptrdiff_t>(level.nodes.size())};
    const std::ptrdiff_t size = plane_size(level.map);
    float* next = memory + 2 * grid.stride + kLanes;
    const auto take = [&] {
        float* plane = next;
        clear_runs(level.halo, grid.stride, plane);
        next += size;
        return plane;
    };
    for (float*& plane : grid.stencil) plane = take();
    for (float*& plane : grid.relax) plane = take();
    grid.count = take();
    grid.grey = take();
    grid.spread = take();
    for (float*& plane : grid.scale) plane = take();
    for (float*& plane : grid.up) plane = take();
    for (float*& plane : grid.rhs) plane = take();
    for (float*& plane : grid.x) plane = take();
    for (float*& plane : grid.held) plane = take();
    for (float*& plane : grid.rest) plane = take();
    return memory + kLevelPlanes * size;
}

void find_nodes(const CoarseGrid& grid, std::vector<std::ptrdiff_t>& nodes) {
    nodes.clear();
    for (std::ptrdiff_t r = 0; r < grid.nodes.count; ++r) {
        const Run& run = grid.nodes.first[r];
        for (std::ptrdiff_t x = run.begin; x < run.end; ++x) {
            const std::ptrdiff_t node = run.row * grid.stride + x;
            if (grid.count[node] > 0) nodes.push_back(node);
        }
    }
}

// Cholesky factor of the coarsest operator; an unknown whose pivot is lost to rounding is left out.
void factorise(MattingWorkspace& workspace) {
    const CoarseGrid& grid = workspace.levels[workspace.level_count - 1].grid;
    const auto& nodes = workspace.coarsest_nodes;
    const std::size_t size = 2 * nodes.size();
    std::vector<double>& a = workspace.coarsest;
    a.assign(size * size, 0.0);
    const std::ptrdiff_t steps[4] = {1, grid.stride, grid.stride + 1, grid.stride - 1};
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        const std::ptrdiff_t node = nodes[i];
        a[2 * i * size + 2 * i] = grid.stencil[0][node];
        a[(2 * i + 1) * size + 2 * i] = grid.stencil[1][node];
        a[(2 * i + 1) * size + 2 * i + 1] = grid.stencil[2][node];
        for (std::size_t j = i + 1; j < nodes.size(); ++j) {
            for (int k = 0; k < 4; ++k) {
                if (nodes[j] != node + steps[k]) continue;
                for (int entry = 0; entry < 4; ++entry)
                    a[(2 * j + static_cast<std::size_t>(entry % 2)) * size + 2 * i +
                      static_cast<std::size_t>(entry / 2)] = grid.stencil[3 + 4 * k + entry][node];
            }
        }
    }
    for (std::size_t j = 0; j < size; ++j) {
        double pivot = a[j * size + j];
        const double least = 1e-5 * pivot;
        for (std::size_t k = 0; k < j; ++k) pivot -= a[j * size + k] * a[j * size + k];
        // Stored inverted; zero takes the unknown out.
        const double inverse = pivot > least && pivot > 0 ? 1.0 / std::sqrt(pivot) : 0.0;
        a[j * size + j] = inverse;
        for (std::size_t i = j + 1; i < size; ++i) {
            double value = a[i * size + j];
            for (std::size_t k = 0; k < j; ++k) value -= a[i * size + k] * a[j * size + k];
            a[i * size + j] = value * inverse;
        }
    }
    workspace.coarsest_x.resize(size);
}

void solve_coarsest(MattingWorkspace& workspace) {
    const CoarseGrid& grid = workspace.levels[workspace.level_count - 1].grid;
    const auto& nodes = workspace.coarsest_nodes;
    const std::size_t size = 2 * nodes.size();
    const double* a = workspace.coarsest.data();
    double* x = workspace.coarsest_x.data();
    for (std::size_t i = 0; i < size; ++i) {
        double value = grid.rhs[i % 2][nodes[i / 2]];
        for (std::size_t k = 0; k < i; ++k) value -= a[i * size + k] * x[k];
        x[i] = value * a[i * size + i];
    }
    for (std::size_t i = size; i-- > 0;) {
        double value = x[i];
        for (std::size_t k = i + 1; k < size; ++k) value -= a[k * size + i] * x[k];
        x[i] = value * a[i * size + i];
        grid.x[i % 2][nodes[i / 2]] = static_cast<float>(x[i]);
    }
}

// x = an approximate solution of the level's operator with rhs, which is spent.
void cycle(MattingWorkspace& workspace, const MultigridSimd& simd, std::size_t number) {
    CoarseGrid& grid = workspace.levels[number].grid;
    if (number + 1 == workspace.level_count) {
        solve_coarsest(workspace);
        return;
    }
    CoarseGrid& below = workspace.levels[number + 1].grid;
    simd.start(grid);
    simd.residual(grid);
    simd.restrict_nodes(grid, below);
    cycle(workspace, simd, number + 1);
    if (number + 1 >= kFirstTwice && number + 3 < workspace.level_count) {
        simd.residual(below);
        for (int k = 0; k < 2; ++k) {
            std::swap(below.rhs[k], below.rest[k]);
            std::swap(below.x[k], below.held[k]);
        }
        cycle(workspace, simd, number + 1);
        simd.add_held(below);
    }
    // An exact solution is long enough, and twice too much in a row would overshoot.
    const bool exact = number + 2 == workspace.level_count;
    simd.prolong_nodes(grid, below, exact ? 1.0f : kOvercorrection);
    simd.residual(grid);
    simd.correct(grid);
}

}  // namespace

void build_multigrid(MattingWorkspace& workspace) {
    const CoarseningSimd& simd = coarsening_simd();
    // The maps first, down to a single node: they tell how much memory there must be.
    std::size_t floats = 0, levels = 0;
    const BlockMap* map = &workspace.map;
    workspace.levels.resize(kMostLevels);
    do {
        CoarseLevel& level = workspace.levels[levels];
        map_nodes(*map, level);
        collect_around(level.map, workspace.bytes, level.around, &level.halo);
        const int planes = kLevelPlanes + (levels == 0 ? kMomentPlanes + kParityPlanes : 0);
        floats += static_cast<std::size_t>(planes * plane_size(level.map));
        map = &level.map;
        ++levels;
    } while (map->rows > 1 || map->blocks > 1);

    workspace.level_floats.reserve(floats);
    float* memory = workspace.level_floats.data();
    for (std::size_t number = 0; number < levels; ++number) {
        CoarseLevel& level = workspace.levels[number];
        memory = lay_out(level, memory);
        if (number == 0) {
            float* next = memory + 2 * level.grid.stride + kLanes;
            for (float*& plane : workspace.moments) {
                plane = next;
                clear_runs(level.halo, level.grid.stride, plane);
                next += plane_size(level.map);
            }
            float* parity[kParityPlanes];
            for (float*& plane : parity) {
                plane = next;
                next += plane_size(level.map);
            }
            memory += (kMomentPlanes + kParityPlanes) * plane_size(level.map);
            const Runs around = {level.around.data(),
                                 static_cast<std::ptrdiff_t>(level.around.size())};
            simd.gather_pixels(workspace.fine, level.grid, workspace.moments);
            simd.assemble_pixels(workspace.fine, level.grid, around, workspace.moments, parity);
        } else {
            const CoarseGrid& above = workspace.levels[number - 1].grid;
            simd.gather_nodes(above, level.grid);
            simd.assemble_nodes(above, level.grid);
        }
        workspace.level_count = number + 1;
        find_nodes(level.grid, workspace.coarsest_nodes);
        if (workspace.coarsest_nodes.size() <= kCoarsestNodes) break;
        simd.weigh_smoother(level.grid);
    }
    factorise(workspace);
}

void run_multigrid(MattingWorkspace& workspace, double sums[3]) {
    const MattingSimd& fine = matting_simd();
    const MultigridSimd& coarse = multigrid_simd();
    const CoarseGrid& first = workspace.levels[0].grid;
    fine.smooth_first(workspace.fine, workspace.r32, workspace.z, workspace.rest);
    coarse.restrict_pixels(workspace.fine, workspace.rest, first);
    cycle(workspace, coarse, 0);
    coarse.prolong_pixels(workspace.fine, first, kOvercorrection, workspace.z);
    fine.smooth_last(workspace.fine, workspace.r32, workspace.q, workspace.z, sums);
}

}  // namespace dsnet
