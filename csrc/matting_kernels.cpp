// The matting Laplacian of one channel without a matrix (Levin, Lischinski, Weiss, "A closed-form
// solution to natural image matting", 2008, equation 12). Of a window w of nine pixels, with mean
// m and gain g = 1 / (9 variance + epsilon), the values p see
//
//     s = sum p,  slope = g (sum I p - m s),  offset = s / 9 - m slope,
//     (L p)_i = sum over windows around i of (p_i - slope I_i - offset).
//
// Every sum over a window is one over columns, then one over rows.
#include "matting_kernels.h"

namespace dsnet::DSNET_UNIT {
namespace {

constexpr std::ptrdiff_t kChunk = 512;
constexpr double kNinth = 1.0 / 9.0;

// Sums over the 3 x 3 neighbours of each pixel of a run: column(i) gives what is summed, three
// rows at once, and each pixel's two sums go to body(i, lane, first, second).
template <typename T, typename Column, typename Body>
DSNET_INLINE void window_sums(const Runs& runs, std::ptrdiff_t stride, Column column, Body body) {
    T first[kChunk + kLanes], second[kChunk + kLanes];
    for (const Run* run = runs.first; run != runs.first + runs.count; ++run) {
        for (std::ptrdiff_t begin = run->begin; begin < run->end; begin += kChunk) {
            const std::ptrdiff_t left = run->end - begin;
            const std::ptrdiff_t width = left < kChunk ? left : kChunk;
            const std::ptrdiff_t base = run->row * stride + begin;
            each_lane(0, width + kLanes, [&](std::ptrdiff_t x, std::ptrdiff_t) {
                column(base + x - 1, first[x], second[x]);
            });
            each_lane(0, width, [&](std::ptrdiff_t x, std::ptrdiff_t lane) {
                body(base + x, lane, first[x] + first[x + 1] + first[x + 2],
                     second[x] + second[x + 1] + second[x + 2]);
            });
        }
    }
}

// Slope and offset of every window over the values p.
template <typename T, typename P>
DSNET_INLINE void regress(const FineGrid& grid, const P* p, const T* mean, const T* gain, T* slope,
                          T* offset) {
    const std::ptrdiff_t s = grid.stride;
    const float* grey = grid.grey;
    const float* ninth = grid.ninth;
    window_sums<T>(
        grid.windows, s,
        [&](std::ptrdiff_t i, T& sum, T& moment) {
            const T above = p[i - s], here = p[i], below = p[i + s];
            sum = above + here + below;
            moment = T(grey[i - s]) * above + T(grey[i]) * here + T(grey[i + s]) * below;
        },
        [&](std::ptrdiff_t i, std::ptrdiff_t, T sum, T moment) {
            const T a = gain[i] * (moment - mean[i] * sum);
            slope[i] = a;
            offset[i] = (ninth[i] > 0 ? T(kNinth) : T(0)) * sum - mean[i] * a;
        });
}

// Calls body(i, lane, v) with v the windows' sum slope I_i + offset at the pixels.
template <typename T, typename Body>
DSNET_INLINE void each_fitted(const FineGrid& grid, const T* slope, const T* offset, Body body) {
    const std::ptrdiff_t s = grid.stride;
    const float* grey = grid.grey;
    window_sums<T>(
        grid.pixels, s,
        [&](std::ptrdiff_t i, T& a, T& b) {
            a = slope[i - s] + slope[i] + slope[i + s];
            b = offset[i - s] + offset[i] + offset[i + s];
        },
        [&](std::ptrdiff_t i, std::ptrdiff_t lane, T a, T b) {
            body(i, lane, T(grey[i]) * a + b);
        });
}

void statistics(const FineGrid& grid, double epsilon, const std::int32_t rows[2],
                const std::int32_t cols[2]) {
    const std::ptrdiff_t s = grid.stride;
    const float* grey = grid.grey;
    for (const Run* run = grid.windows.first; run != grid.windows.first + grid.windows.count;
         ++run) {
        const bool row_fits = run->row >= rows[0] && run->row < rows[1];
        const std::ptrdiff_t from = run->row * s + (row_fits ? cols[0] : 0);
        const std::ptrdiff_t to = run->row * s + (row_fits ? cols[1] : 0);
        window_sums<double>(
            {run, 1}, s,
            [&](std::ptrdiff_t i, double& sum, double& squares) {
                const double above = grey[i - s], here = grey[i], below = grey[i + s];
                sum = above + here + below;
                squares = above * above + here * here + below * below;
            },
            [&](std::ptrdiff_t i, std::ptrdiff_t, double sum, double squares) {
                const bool fits = i >= from && i < to;
                const double mean = fits ? sum * kNinth : 0.0;
                const double scatter = squares - sum * (sum * kNinth);
                const double gain = 1.0 / ((scatter > 0 ? scatter : 0.0) + epsilon);
                grid.mean[i] = mean;
                grid.gain[i] = fits ? gain : 0.0;
                grid.ninth[i] = fits ? float(kNinth) : 0.0f;
                grid.mean32[i] = float(mean);
                grid.mean_rest[i] = float(mean - double(float(mean)));
                grid.gain32[i] = fits ? float(gain) : 0.0f;
            });
    }
}

bool finds_untied(const FineGrid& grid) {
    constexpr float kSame = 0.02f;
    const std::ptrdiff_t s = grid.stride;
    const std::ptrdiff_t around[9] = {-s - 1, -s, -s + 1, -1, 0, 1, s - 1, s, s + 1};
    const float* grey = grid.grey;
    float two_values[kLanes] = {};
    each_lane(grid.windows, s, [&](std::ptrdiff_t i, std::ptrdiff_t lane) {
        float low = grey[i], high = grey[i];
        for (int k = 0; k < 9; ++k) {
            const float value = grey[i + around[k]];
            low = value < low ? value : low;
            high = value > high ? value : high;
        }
        float between = 0;
        for (int k = 0; k < 9; ++k) {
            const float above = grey[i + around[k]] - low, below = high - grey[i + around[k]];
            const float off = above < below ? above : below;
            between = off > between ? off : between;
        }
        const bool here = grid.ninth[i] > 0 && high > low && between <= kSame * (high - low);
        two_values[lane] = here ? 1.0f : two_values[lane];
    });
    return sum_of_lanes(two_values) > 0;
}

void weigh_smoother(const FineGrid& grid) {
    const std::ptrdiff_t s = grid.stride;
    const std::ptrdiff_t around[9] = {-s - 1, -s, -s + 1, -1, 0, 1, s - 1, s, s + 1};
    const double* mean = grid.mean;
    const double* gain = grid.gain;
    const float* count = grid.count;
    each_lane(grid.pixels, s, [&](std::ptrdiff_t i, std::ptrdiff_t) {
        const double grey = grid.grey[i];
        double fitted = 0;
        for (int k = 0; k < 9; ++k) {
            const double from_mean = grey - mean[i + around[k]];
            fitted += gain[i + around[k]] * from_mean * from_mean;
        }
        double ninths = 0;
        for (int k = 0; k < 9; ++k) ninths += grid.ninth[i + around[k]] > 0 ? kNinth : 0.0;
        const double whole = double(count[i]) + grid.weight;
        const double twice = 2 * (whole - ninths - fitted);
        // At least what rounding leaves of it.
        const double weight = twice < whole ? (twice > 1e-13 * whole ? twice : 1e-13 * whole) : whole;
        grid.relax[i] = count[i] > 0 ? float(1.0 / weight) : 0.0f;
    });
}

double right_side(const FineGrid& grid, const float* known, const float* prior, double* b) {
    const float* count = grid.count;
    const double weight = grid.weight;
    double lanes[kLanes] = {};
    regress(grid, known, grid.mean, grid.gain, grid.slope, grid.offset);
    const auto add = [&](std::ptrdiff_t i, std::ptrdiff_t lane, double value) {
        b[i] = count[i] > 0 ? value : 0.0;
        lanes[lane] += b[i] * b[i];
    };
    if (prior != nullptr)
        each_fitted(grid, grid.slope, grid.offset,
                    [&](std::ptrdiff_t i, std::ptrdiff_t lane, double fitted) {
                        add(i, lane, fitted + weight * double(prior[i]));
                    });
    else
        each_fitted(grid, grid.slope, grid.offset, add);
    return sum_of_lanes(lanes);
}

double apply(const FineGrid& grid, const double* p, double* q) {
    const float* count = grid.count;
    const double weight = grid.weight;
    double lanes[kLanes] = {};
    regress(grid, p, grid.mean, grid.gain, grid.slope, grid.offset);
    each_fitted(grid, grid.slope, grid.offset,
                [&](std::ptrdiff_t i, std::ptrdiff_t lane, double fitted) {
                    const double own = p[i];
                    const double value = (double(count[i]) + weight) * own - fitted;
                    q[i] = count[i] > 0 ? value : 0.0;
                    lanes[lane] += own * q[i];
                });
    return sum_of_lanes(lanes);
}

double residual(const FineGrid& grid, const double* x, const double* b, double* q, double* r) {
    double lanes[kLanes] = {};
    apply(grid, x, q);
    each_lane(grid.pixels, grid.stride, [&](std::ptrdiff_t i, std::ptrdiff_t lane) {
        r[i] = b[i] - q[i];
        lanes[lane] += r[i] * r[i];
    });
    return sum_of_lanes(lanes);
}

void direction(const FineGrid& grid, const float* z, double beta, double* d) {
    each_lane(grid.pixels, grid.stride,
              [&](std::ptrdiff_t i, std::ptrdiff_t) { d[i] = double(z[i]) + beta * d[i]; });
}

void direction_jacobi(const FineGrid& grid, const double* r, double beta, double* d) {
    const float* relax = grid.relax;
    each_lane(grid.pixels, grid.stride, [&](std::ptrdiff_t i, std::ptrdiff_t) {
        d[i] = double(relax[i]) * r[i] + beta * d[i];
    });
}

void step(const FineGrid& grid, double alpha, const double* d, const double* q, double* x,
          double* r, float* r32, double sums[2]) {
    const float* relax = grid.relax;
    double norm[kLanes] = {}, energy[kLanes] = {};
    each_lane(grid.pixels, grid.stride, [&](std::ptrdiff_t i, std::ptrdiff_t lane) {
        x[i] += alpha * d[i];
        const double left = r[i] - alpha * q[i];
        r[i] = left;
        r32[i] = float(left);
        norm[lane] += left * left;
        energy[lane] += double(relax[i]) * left * left;
    });
    sums[0] = sum_of_lanes(norm);
    sums[1] = sum_of_lanes(energy);
}

void scale(const FineGrid& grid, double factor, double* b, double* r) {
    each_lane(grid.pixels, grid.stride, [&](std::ptrdiff_t i, std::ptrdiff_t) {
        const double value = factor * b[i];
        b[i] = value;
        r[i] = value;
    });
}

void smooth_first(const FineGrid& grid, const float* r, float* z, float* rest) {
    const float* relax = grid.relax;
    const float* count = grid.count;
    const auto weight = float(grid.weight);
    each_lane(grid.pixels, grid.stride,
              [&](std::ptrdiff_t i, std::ptrdiff_t) { z[i] = kRelaxation * relax[i] * r[i]; });
    regress(grid, z, grid.mean32, grid.gain32, grid.slope32, grid.offset32);
    each_fitted(grid, grid.slope32, grid.offset32,
                [&](std::ptrdiff_t i, std::ptrdiff_t, float fitted) {
                    const float left = r[i] - ((count[i] + weight) * z[i] - fitted);
                    rest[i] = count[i] > 0 ? left : 0.0f;
                });
}

void smooth_last(const FineGrid& grid, const float* r, const double* q, float* z,
                 double sums[3]) {
    const float* relax = grid.relax;
    const float* count = grid.count;
    const auto weight = float(grid.weight);
    double energy[kLanes] = {}, change[kLanes] = {};
    float largest[kLanes] = {};
    regress(grid, z, grid.mean32, grid.gain32, grid.slope32, grid.offset32);
    each_fitted(grid, grid.slope32, grid.offset32,
                [&](std::ptrdiff_t i, std::ptrdiff_t lane, float fitted) {
                    const float old = z[i];
                    const float left = r[i] - ((count[i] + weight) * old - fitted);
                    const float value = old + kRelaxation * relax[i] * left;
                    const float size = value < 0 ? -value : value;
                    z[i] = value;
                    energy[lane] += double(value) * double(r[i]);
                    change[lane] += double(value) * q[i];
                    largest[lane] = size > largest[lane] ? size : largest[lane];
                });
    sums[0] = sum_of_lanes(energy);
    sums[1] = sum_of_lanes(change);
    sums[2] = 0;
    for (float size : largest) sums[2] = size > sums[2] ? size : sums[2];
}

}  // namespace

extern const MattingKernels matting_kernels;
const MattingKernels matting_kernels = {
    &statistics, &finds_untied, &weigh_smoother,   &right_side, &apply,        &residual,
    &direction,  &direction_jacobi, &step,       &scale,      &smooth_first, &smooth_last};

}  // namespace dsnet::DSNET_UNIT
