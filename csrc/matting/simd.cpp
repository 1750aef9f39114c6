// The matting Laplacian of one channel without a matrix (Levin, Lischinski, Weiss, "A closed-form
// solution to natural image matting", 2008, equation 12). Of a window w of nine pixels, with mean
// m and gain g = 1 / (9 variance + epsilon), the values p see
//
//     s = sum p,  slope = g (sum I p - m s),  offset = s / 9 - m slope,
//     (L p)_i = sum over windows around i of (p_i - slope I_i - offset).
//
// Every sum over a window is one over three pixels side by side, then one over three rows, of which
// the last two are kept on the way down.
#include "matting/simd.h"

#include "matting/numbers.h"

namespace dsnet::DSNET_UNIT {
namespace {

constexpr double kNinth = 1.0 / 9.0;

// A sum over the pixels of all shafts; none.
struct NoSum {
    DSNET_INLINE NoSum& of(std::ptrdiff_t) { return *this; }
};
// One with as many lanes as a reduction.
template <typename T>
struct ShaftSum : Reduction<T> {
    // That of the columns from `offset` on.
    DSNET_INLINE typename Lanes<T>::Values& of(std::ptrdiff_t offset) {
        return this->part[offset / Lanes<T>::kCount % Reduction<T>::kParts];
    }
};

// Sums over the 3 x 3 neighbours of each pixel of the shafts: row(i, first, second) gives what is
// summed of three pixels side by side, the middle ones from i on, and the sums of three rows go to
// body(i, first, second, part of `total`).
template <typename T, typename Total, typename Row, typename Body>
DSNET_INLINE void window_sums(const Shafts& shafts, std::ptrdiff_t stride, Total& total, Row row,
                              Body body) {
    typedef typename Lanes<T>::Values Values;
    for (const Shaft* shaft = shafts.first; shaft != shafts.first + shafts.count; ++shaft) {
        const std::ptrdiff_t width = shaft->right - shaft->left;
        for (std::ptrdiff_t part = 0; part < width; part += Lanes<T>::kCount) {
            auto sum = total.of(part);
            std::ptrdiff_t i = shaft->top * stride + shaft->left + part;
            Values first_above, second_above, first_here, second_here, first_below, second_below;
            row(i - stride, first_above, second_above);
            row(i, first_here, second_here);
            for (std::ptrdiff_t left = shaft->bottom - shaft->top; left > 0; --left, i += stride) {
                row(i + stride, first_below, second_below);
                body(i, first_above + first_here + first_below,
                     second_above + second_here + second_below, sum);
                first_above = first_here;
                first_here = first_below;
                second_above = second_here;
                second_here = second_below;
            }
            total.of(part) = sum;
        }
    }
}

// Slope and offset of every window over the values p.
template <typename T, typename P>
DSNET_INLINE void regress(const FineGrid& grid, const P* p, const T* mean, const T* gain, T* slope,
                          T* offset) {
    typedef Lanes<T> Lane;
    typedef typename Lane::Values Values;
    const float* grey = grid.grey;
    const float* ninth = grid.ninth;
    NoSum none;
    window_sums<T>(
        grid.window_shafts, grid.stride, none,
        [&](std::ptrdiff_t i, Values& sum, Values& moment) {
            const Values left = Lane::at(p + i - 1), here = Lane::at(p + i),
                         right = Lane::at(p + i + 1);
            sum = left + here + right;
            moment = Lane::at(grey + i - 1) * left + Lane::at(grey + i) * here +
                     Lane::at(grey + i + 1) * right;
        },
        [&](std::ptrdiff_t i, Values sum, Values moment, NoSum&) {
            const Values m = Lane::at(mean + i);
            const Values a = Lane::at(gain + i) * (moment - m * sum);
            const Values share = Lane::at(ninth + i) > 0 ? Lane::all(T(kNinth)) : Values{};
            store(slope + i, a);
            store(offset + i, share * sum - m * a);
        });
}

// Calls body(i, v, part of `total`) with v the windows' sum slope I_i + offset at the pixels of the
// shafts.
template <typename T, typename Total, typename Body>
DSNET_INLINE void each_fitted(const FineGrid& grid, const Shafts& shafts, const T* slope,
                              const T* offset, Total& total, Body body) {
    typedef Lanes<T> Lane;
    typedef typename Lane::Values Values;
    const float* grey = grid.grey;
    window_sums<T>(
        shafts, grid.stride, total,
        [&](std::ptrdiff_t i, Values& a, Values& b) {
            a = Lane::at(slope + i - 1) + Lane::at(slope + i) + Lane::at(slope + i + 1);
            b = Lane::at(offset + i - 1) + Lane::at(offset + i) + Lane::at(offset + i + 1);
        },
        [&](std::ptrdiff_t i, Values a, Values b, auto& sum) {
            body(i, Lane::at(grey + i) * a + b, sum);
        });
}

template <bool kNarrow>
DSNET_INLINE void statistics_by(const FineGrid& grid, double epsilon, const std::int32_t rows[2],
                                const std::int32_t cols[2]) {
    typedef Lanes<double> Lane;
    const std::ptrdiff_t s = grid.stride;
    const float* grey = grid.grey;
    HalfVector counting{};
    for (int lane = 0; lane < Lane::kCount; ++lane) counting[lane] = float(lane);
    NoSum none;
    for (const Shaft* shaft = grid.window_shafts.first;
         shaft != grid.window_shafts.first + grid.window_shafts.count; ++shaft) {
        window_sums<double>(
            {shaft, 1}, s, none,
            [&](std::ptrdiff_t i, DoubleVector& sum, DoubleVector& squares) {
                const DoubleVector left = Lane::at(grey + i - 1), here = Lane::at(grey + i),
                                   right = Lane::at(grey + i + 1);
                sum = left + here + right;
                squares = left * left + here * here + right * right;
            },
            [&](std::ptrdiff_t i, DoubleVector sum, DoubleVector squares, NoSum&) {
                const std::ptrdiff_t row = i / s;
                const HalfVector column = counting + float(i - row * s), nowhere{};
                const float inside = row >= rows[0] && row < rows[1] ? float(kNinth) : 0.0f;
                HalfVector ninth = column >= float(cols[0]) ? nowhere + inside : nowhere;
                ninth = column < float(cols[1]) ? ninth : nowhere;
                const DoubleVector fits = widened(ninth), nothing{};
                const DoubleVector mean = fits > 0 ? sum * kNinth : nothing;
                const DoubleVector scatter = squares - sum * (sum * kNinth);
                const DoubleVector whole = 1.0 / ((scatter > 0 ? scatter : nothing) + epsilon);
                const DoubleVector gain = fits > 0 ? whole : nothing;
                store(grid.mean + i, mean);
                store(grid.gain + i, gain);
                store(grid.ninth + i, ninth);
                if (!kNarrow) return;
                const HalfVector mean32 = narrowed(mean);
                store(grid.mean32 + i, mean32);
                store(grid.mean_rest + i, narrowed(mean - widened(mean32)));
                store(grid.gain32 + i, narrowed(gain));
            });
    }
}

void statistics(const FineGrid& grid, double epsilon, const std::int32_t rows[2],
                const std::int32_t cols[2]) {
    const bool narrow = grid.mean32 != nullptr;
    (narrow ? &statistics_by<true> : &statistics_by<false>)(grid, epsilon, rows, cols);
}

bool finds_untied(const FineGrid& grid) {
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
        const bool here = grid.ninth[i] > 0 && high > low && between <= kSameGrey * (high - low);
        two_values[lane] = here ? 1.0f : two_values[lane];
    });
    return sum_of_lanes(two_values) > 0;
}

double right_side(const FineGrid& grid, const float* known, const float* prior, double* b) {
    typedef Lanes<double> Lane;
    const double weight = prior != nullptr ? grid.weight : 0.0;
    const float* toward = prior != nullptr ? prior : grid.grey;  // any finite values: weight is 0
    ShaftSum<double> squares;
    regress(grid, known, grid.mean, grid.gain, grid.slope, grid.offset);
    each_fitted(grid, grid.pixel_shafts, grid.slope, grid.offset, squares,
                [&](std::ptrdiff_t i, DoubleVector fitted, DoubleVector& sum) {
                    const DoubleVector value = fitted + weight * Lane::at(toward + i);
                    const DoubleVector kept = Lane::at(grid.count + i) > 0 ? value : DoubleVector{};
                    store(b + i, kept);
                    sum += kept * kept;
                });
    return sum_of_lanes(squares);
}

double apply(const FineGrid& grid, const double* p, double* q) {
    typedef Lanes<double> Lane;
    const double weight = grid.weight;
    ShaftSum<double> products;
    regress(grid, p, grid.mean, grid.gain, grid.slope, grid.offset);
    each_fitted(grid, grid.pixel_shafts, grid.slope, grid.offset, products,
                [&](std::ptrdiff_t i, DoubleVector fitted, DoubleVector& sum) {
                    const DoubleVector own = Lane::at(p + i), count = Lane::at(grid.count + i);
                    const DoubleVector value = (count + weight) * own - fitted;
                    const DoubleVector kept = count > 0 ? value : DoubleVector{};
                    store(q + i, kept);
                    sum += own * kept;
                });
    return sum_of_lanes(products);
}

// Calls body(i) for the first pixel of every block of a reduction's float64 lanes.
template <typename Body>
DSNET_INLINE void each_half(const FineGrid& grid, Body body) {
    for (const Run* run = grid.pixels.first; run != grid.pixels.first + grid.pixels.count; ++run) {
        const std::ptrdiff_t row = run->row * grid.stride;
        for (std::ptrdiff_t x = run->begin; x < run->end; x += kLanes / 2) body(row + x);
    }
}

double residual(const FineGrid& grid, const double* x, const double* b, double* q, double* r) {
    typedef Lanes<double> Lane;
    Reduction<double> squares;
    apply(grid, x, q);
    each_half(grid, [&](std::ptrdiff_t block) {
        squares.each([&](DoubleVector& sum, std::ptrdiff_t lane) {
            const std::ptrdiff_t i = block + lane;
            const DoubleVector left = Lane::at(b + i) - Lane::at(q + i);
            store(r + i, left);
            sum += left * left;
        });
    });
    return sum_of_lanes(squares);
}

// Calls body(i) for the first pixel of every vector.
template <typename Body>
DSNET_INLINE void each_vector(const FineGrid& grid, Body body) {
    each_half(grid, [&](std::ptrdiff_t block) {
        for (std::ptrdiff_t lane = 0; lane < kLanes / 2; lane += Lanes<double>::kCount)
            body(block + lane);
    });
}

void weigh_smoother(const FineGrid& grid) {
    typedef Lanes<double> Lane;
    const std::ptrdiff_t s = grid.stride;
    const std::ptrdiff_t around[9] = {-s - 1, -s, -s + 1, -1, 0, 1, s - 1, s, s + 1};
    each_vector(grid, [&](std::ptrdiff_t i) {
        const DoubleVector grey = Lane::at(grid.grey + i), nothing{};
        DoubleVector fitted{}, ninths{};
        for (int k = 0; k < 9; ++k) {
            const DoubleVector from_mean = grey - Lane::at(grid.mean + i + around[k]);
            fitted += Lane::at(grid.gain + i + around[k]) * from_mean * from_mean;
            ninths += Lane::at(grid.ninth + i + around[k]) > 0 ? Lane::all(kNinth) : nothing;
        }
        const DoubleVector count = Lane::at(grid.count + i);
        const DoubleVector whole = count + grid.weight;
        const DoubleVector twice = 2 * (whole - ninths - fitted);
        // At least what rounding leaves of it.
        const DoubleVector least = kLeastWeight * whole;
        const DoubleVector longer = twice > least ? twice : least;
        const DoubleVector weight = twice < whole ? longer : whole;
        const DoubleVector step = 1.0 / weight;
        store(grid.relax + i, narrowed(count > 0 ? step : nothing));
    });
}

void direction(const FineGrid& grid, const float* z, double beta, double* d) {
    typedef Lanes<double> Lane;
    each_vector(grid,
                [&](std::ptrdiff_t i) { store(d + i, Lane::at(z + i) + beta * Lane::at(d + i)); });
}

void direction_jacobi(const FineGrid& grid, const double* r, double beta, double* d) {
    typedef Lanes<double> Lane;
    each_vector(grid, [&](std::ptrdiff_t i) {
        store(d + i, Lane::at(grid.relax + i) * Lane::at(r + i) + beta * Lane::at(d + i));
    });
}

template <bool kNarrow>
DSNET_INLINE void step_by(const FineGrid& grid, double alpha, const double* d, const double* q,
                          double* x, double* r, float* r32, double sums[2]) {
    typedef Lanes<double> Lane;
    Reduction<double> norm, energy;
    each_half(grid, [&](std::ptrdiff_t block) {
        norm.each([&](DoubleVector& sum, std::ptrdiff_t lane) {
            const std::ptrdiff_t i = block + lane;
            store(x + i, Lane::at(x + i) + alpha * Lane::at(d + i));
            const DoubleVector left = Lane::at(r + i) - alpha * Lane::at(q + i);
            store(r + i, left);
            if (kNarrow) store(r32 + i, narrowed(left));
            sum += left * left;
            energy.part[lane / Lane::kCount] += Lane::at(grid.relax + i) * left * left;
        });
    });
    sums[0] = sum_of_lanes(norm);
    sums[1] = sum_of_lanes(energy);
}

void step(const FineGrid& grid, double alpha, const double* d, const double* q, double* x,
          double* r, float* r32, double sums[2]) {
    (r32 != nullptr ? &step_by<true> : &step_by<false>)(grid, alpha, d, q, x, r, r32, sums);
}

void scale(const FineGrid& grid, double factor, double* b, double* r) {
    each_vector(grid, [&](std::ptrdiff_t i) {
        const DoubleVector value = factor * Lanes<double>::at(b + i);
        store(b + i, value);
        store(r + i, value);
    });
}

void smooth_first(const FineGrid& grid, const float* r, float* z, float* rest) {
    const float* relax = grid.relax;
    const auto weight = float(grid.weight);
    each_lane(grid.pixels, grid.stride,
              [&](std::ptrdiff_t i, std::ptrdiff_t) { z[i] = kRelaxation * relax[i] * r[i]; });
    regress(grid, z, grid.mean32, grid.gain32, grid.slope32, grid.offset32);
    NoSum none;
    each_fitted(grid, grid.pixel_shafts, grid.slope32, grid.offset32, none,
                [&](std::ptrdiff_t i, FloatVector fitted, NoSum&) {
                    typedef Lanes<float> Lane;
                    const FloatVector count = Lane::at(grid.count + i);
                    const FloatVector left =
                        Lane::at(r + i) - ((count + weight) * Lane::at(z + i) - fitted);
                    store(rest + i, count > 0 ? left : FloatVector{});
                });
}

void smooth_last(const FineGrid& grid, const float* r, const double* q, float* z, double sums[3]) {
    typedef Lanes<float> Lane;
    typedef Lanes<double> Double;
    constexpr bool kWhole = Lane::kCount == kLanes;
    const auto weight = float(grid.weight);
    Reduction<double> energy, change;
    ShaftSum<float> largest;
    // Of kLanes pixels side by side: row by row, whatever part of a row a vector takes.
    const auto add = [&](std::ptrdiff_t first) {
        for (std::ptrdiff_t half = first; half < first + kLanes; half += kLanes / 2) {
            energy.each([&](DoubleVector& sum, std::ptrdiff_t lane) {
                sum += Double::at(z + half + lane) * Double::at(r + half + lane);
            });
            change.each([&](DoubleVector& sum, std::ptrdiff_t lane) {
                sum += Double::at(z + half + lane) * Double::at(q + half + lane);
            });
        }
    };
    regress(grid, z, grid.mean32, grid.gain32, grid.slope32, grid.offset32);
    const Shafts& shafts = grid.pixel_shafts;
    for (const Shaft* shaft = shafts.first; shaft != shafts.first + shafts.count; ++shaft) {
        each_fitted(grid, {shaft, 1}, grid.slope32, grid.offset32, largest,
                    [&](std::ptrdiff_t i, FloatVector fitted, FloatVector& most) {
                        const FloatVector old = Lane::at(z + i);
                        const FloatVector left =
                            Lane::at(r + i) - ((Lane::at(grid.count + i) + weight) * old - fitted);
                        const FloatVector value =
                            old + kRelaxation * Lane::at(grid.relax + i) * left;
                        const FloatVector size = value < 0 ? -value : value;
                        store(z + i, value);
                        most = size > most ? size : most;
                        if (kWhole) add(i);
                    });
        for (std::ptrdiff_t row = shaft->top; !kWhole && row < shaft->bottom; ++row)
            add(row * grid.stride + shaft->left);
    }
    sums[0] = sum_of_lanes(energy);
    sums[1] = sum_of_lanes(change);
    sums[2] = 0;
    for (int lane = 0; lane < kLanes; ++lane)
        sums[2] = largest[lane] > sums[2] ? largest[lane] : sums[2];
}

}  // namespace

extern const MattingSimd matting_simd;
const MattingSimd matting_simd = {&statistics, &finds_untied, &weigh_smoother, &right_side,
                                  &apply,      &residual,     &direction,      &direction_jacobi,
                                  &step,       &scale,        &smooth_first,   &smooth_last};

}  // namespace dsnet::DSNET_UNIT
