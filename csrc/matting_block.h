// One block of threads solves the closed-form matting of one image. Written against a Block that is
// either the threads of a GPU or, for tests, a loop over threads on the CPU: what `each` runs knows
// its thread's number, and nothing is read that another thread wrote since the last `sync`.
//
// An iteration has four barriers: windows regress the direction on grey; pixels gather the windows
// and the curvature is summed; pixels step and the residual is summed; the new direction is written.
// Sums are taken in an order fixed by the number of threads.
//
// A Store says where the vectors live: matting_store.h.
#pragma once

#include "matting_cuda.h"
#include "matting_device.h"

#if defined(__CUDACC__)
#define DSNET_BLOCK __device__ __forceinline__
#else
#define DSNET_BLOCK inline
#endif

namespace dsnet::matting_device {

template <int K>
struct Values {
    double of[K];
};

struct Sum {
    DSNET_HOST_DEVICE double operator()(double a, double b) const { return a + b; }
};

struct Largest {
    DSNET_HOST_DEVICE double operator()(double a, double b) const { return most(a, b); }
};

struct Problem {
    const float* image;
    const std::uint8_t* trimap;
    const float* prior;  // or null
    float* alpha;
    int rows, cols;
    double epsilon, rtol, weight;
    int max_iterations;
};

DSNET_HOST_DEVICE Problem problem_of(const cuda::MattingBatch& batch, std::int64_t index) {
    const std::int64_t at = index * batch.rows * batch.cols;
    return {batch.images + at,
            batch.trimaps + at,
            batch.priors == nullptr ? nullptr : batch.priors + at,
            batch.alphas + at,
            batch.rows,
            batch.cols,
            batch.epsilon,
            batch.rtol,
            batch.priors == nullptr ? 0.0 : batch.prior_weight,
            batch.max_iterations};
}

// The part of the image that the unknown pixels' windows cover, and its planes. Cells are counted
// from the first pixel on; a row's right halo is the next one's left.
struct Region {
    int top, left, rows, cols, strips, stride;

    DSNET_HOST_DEVICE Region(int first_row, int last_row, int first_col, int last_col, int height,
                             int width)
        : top(most(first_row - 2, 0)),
          left(most(first_col - 2, 0)),
          rows(least(last_row + 3, height) - top),
          cols(least(last_col + 3, width) - left),
          strips((rows + kStrip - 1) / kStrip),
          stride(cols + 1) {}
    DSNET_HOST_DEVICE int origin() const { return stride + 1; }
    DSNET_HOST_DEVICE int plane() const { return (strips * kStrip + 2) * stride + 1; }
    DSNET_HOST_DEVICE int strip_count() const { return strips * cols; }
};

template <class Block, class Store>
class MattingSolve {
  public:
    DSNET_BLOCK MattingSolve(Block& block, Store& store, const Problem& problem)
        : block_(block), store_(store), problem_(problem), region_(0, 0, 0, 0, 1, 1) {}

    DSNET_BLOCK cuda::MattingResult run() {
        cuda::MattingResult result = {0.0, cuda::kMattingDone, 0, 0, 1, 0, 0};
        const Values<3> counted = take_census(result.status);
        if (result.status != cuda::kMattingDone) {
            if (result.status != cuda::kMattingPending) fill_alpha(true, 0.0f);
            return result;
        }
        const double unknowns = counted.of[0], foreground = counted.of[1];
        const double background = counted.of[2];
        const float open = open_alpha(foreground, background);
        result.unknowns = int(unknowns);
        if (unknowns == 0 || foreground == 0 || background == 0) {
            fill_alpha(false, open);
            return result;
        }
        result.solved = 1;
        load();
        const bool few = least(foreground, background) < kFewKnown;
        const bool two_valued = take_statistics();
        const bool untied = problem_.prior == nullptr && (few || two_valued);
        const double rtol = untied ? least(problem_.rtol, kUntiedRtol) : problem_.rtol;
        const double norm = take_right_side();
        if (!(norm > 0)) {  // nothing draws alpha away from 0
            fill_alpha(false, open);
            return result;
        }
        result.residual = solve(rtol, result.iterations);
        const double rounding =
            kRounding * (9.0 + problem_.weight) * sqrt(write_alpha(norm));
        const double asked = untied ? least(problem_.rtol, kUntiedSlack * rtol) : rtol;
        result.converged = result.residual <= most(asked, rounding) ? 1 : 0;
        return result;
    }

  private:
    template <class T>
    using Own = typename Block::template Own<T>;
    using Thread = typename Store::Thread;
    static constexpr int kThreads = Block::kThreads;

    // Writes alpha where it is known, finds the region; returns the pixels by kind.
    DSNET_BLOCK Values<3> take_census(std::int32_t& status) {
        Own<Values<3>> counts;
        Own<Values<5>> extents;
        const int size = problem_.rows * problem_.cols;
        block_.each([&](int t) {
            int unknowns = 0, foreground = 0, background = 0, bad = 0;
            int top = problem_.rows, bottom = -1, left = problem_.cols, right = -1;
            for (int i = t; i < size; i += kThreads) {
                const std::uint8_t mark = problem_.trimap[i];
                if (!is_usable(problem_.image[i])) bad = cuda::kMattingBadImage;
                if (!is_trimap_value(mark)) bad = most(bad, int(cuda::kMattingBadTrimap));
                if (problem_.prior != nullptr &&
                    !(problem_.prior[i] >= 0 && problem_.prior[i] <= 1))
                    bad = cuda::kMattingBadPrior;
                foreground += mark == kForeground;
                background += mark == kBackground;
                if (mark != kUnknown) {
                    problem_.alpha[i] = mark == kForeground ? 1.0f : 0.0f;
                    continue;
                }
                ++unknowns;
                const int y = i / problem_.cols, x = i - y * problem_.cols;
                top = least(top, y);
                bottom = most(bottom, y);
                left = least(left, x);
                right = most(right, x);
            }
            counts[t] = {{double(unknowns), double(foreground), double(background)}};
            extents[t] = {{double(-top), double(bottom), double(-left), double(right), double(bad)}};
        });
        const Values<3> counted = block_.template reduce<Sum>(counts);
        const Values<5> extent = block_.template reduce<Largest>(extents);
        status = int(extent.of[4]);
        if (status == cuda::kMattingDone && counted.of[0] > 0) {
            region_ = Region(int(-extent.of[0]), int(extent.of[1]), int(-extent.of[2]),
                             int(extent.of[3]), problem_.rows, problem_.cols);
            const bool needed = counted.of[1] > 0 && counted.of[2] > 0;
            if (needed && !store_.fits(region_)) status = cuda::kMattingPending;
        }
        return counted;
    }

    // Alpha of the unknown pixels, or NaN everywhere.
    DSNET_BLOCK void fill_alpha(bool bad, float open) {
        block_.each([&](int t) {
            for (int i = t; i < problem_.rows * problem_.cols; i += kThreads) {
                if (bad)
                    problem_.alpha[i] = not_a_number();
                else if (problem_.trimap[i] == kUnknown)
                    problem_.alpha[i] = open;
            }
        });
    }

    template <class T>
    DSNET_BLOCK void clear(T* plane, int t) {
        for (int i = t; i < region_.plane(); i += kThreads) plane[i - region_.origin()] = T(0);
    }

    // body(cell, pixel) for the thread's share of the region.
    template <class Body>
    DSNET_BLOCK void each_cell(int t, Body body) {
        for (int i = t; i < region_.rows * region_.cols; i += kThreads) {
            const int y = i / region_.cols, x = i - y * region_.cols;
            body(y * region_.stride + x, (region_.top + y) * problem_.cols + region_.left + x);
        }
    }

    // Planes, and the strips that hold unknown pixels or windows around such.
    DSNET_BLOCK void load() {
        store_.place(region_);
        block_.each([&](int t) {
            clear(store_.p, t);
            clear(store_.slope, t);
            clear(store_.offset, t);
            clear(store_.grey, t);
        });
        block_.sync();
        double* const unknown = store_.slope;
        block_.each([&](int t) {
            each_cell(t, [&](int cell, int pixel) {
                const std::uint8_t mark = problem_.trimap[pixel];
                store_.grey[cell] = problem_.image[pixel];
                store_.p[cell] = mark == kForeground ? 1.0 : 0.0;
                unknown[cell] = mark == kUnknown ? 1.0 : 0.0;
            });
        });
        block_.sync();
        const Centres down = window_centres(problem_.rows), across = window_centres(problem_.cols);
        const int stride = region_.stride;
        pixels_ = block_.compact(
            region_.strip_count(),
            [&](int item) {
                const int y = item / region_.cols * kStrip, x = item % region_.cols;
                const int width = windows_around(region_.left + x, across);
                std::uint32_t packed = 0;
                for (int j = 0; j < kStrip; ++j) {
                    const int height = windows_around(region_.top + y + j, down);
                    if (unknown[(y + j) * stride + x] > 0)
                        packed |= std::uint32_t(width * height) << (8 * j);
                }
                return packed;
            },
            [&](int item, std::uint32_t packed, int position) {
                const int y = item / region_.cols * kStrip, x = item % region_.cols;
                store_.pixel_list[position] = y * stride + x;
                store_.count_list[position] = packed;
            });
        windows_ = block_.compact(
            region_.strip_count(),
            [&](int item) {
                const int y = item / region_.cols * kStrip, x = item % region_.cols;
                const int column = region_.left + x;
                if (column < across.first || column > across.last) return 0u;
                std::uint32_t mask = 0;
                for (int j = 0; j < kStrip; ++j) {
                    const int row = region_.top + y + j;
                    if (row < down.first || row > down.last) continue;
                    double touched = 0;
                    for (int dy = -1; dy <= 1; ++dy)
                        for (int dx = -1; dx <= 1; ++dx)
                            touched += unknown[(y + j + dy) * stride + x + dx];
                    if (touched > 0) mask |= 1u << j;
                }
                return mask;
            },
            [&](int item, std::uint32_t mask, int position) {
                const int y = item / region_.cols * kStrip, x = item % region_.cols;
                store_.window_list[position] = std::uint32_t(y * stride + x) << kStrip | mask;
            });
        block_.sync();
        block_.each([&](int t) { store_.take_lists(own_[t], t, windows_, pixels_); });
        block_.sync();
        block_.each([&](int t) {
            clear(store_.slope, t);
            clear(store_.offset, t);
        });
        block_.sync();
    }

    // Mean and gain of the windows, the step of the diagonal; whether pixels may be all but untied.
    DSNET_BLOCK bool take_statistics() {
        const Centres down = window_centres(problem_.rows), across = window_centres(problem_.cols);
        share_ = 1.0 / (down.width * across.width);
        const int stride = region_.stride;
        double* const means = store_.slope;
        double* const gains = store_.offset;
        Own<Values<1>> untied;
        block_.each([&](int t) {
            untied[t] = {{0.0}};
            store_.each_slot(t, windows_, [&](int k) {
                const std::uint32_t packed = store_.window(own_[t], t, k);
                const int cell = int(packed >> kStrip);
                const int y = cell / stride + region_.top, x = cell % stride + region_.left;
                DSNET_UNROLL
                for (int j = 0; j < kStrip; ++j) {
                    WindowFit fit = {0.0, 0.0, false};
                    const float* grey = store_.grey + cell + j * stride;
                    if (packed >> j & 1)
                        fit = fit_window([&](int dy, int dx) { return grey[dy * stride + dx]; },
                                         [&](int dy, int dx) {
                                             return y + j + dy >= 0 && x + dx >= 0 &&
                                                    y + j + dy < problem_.rows &&
                                                    x + dx < problem_.cols;
                                         },
                                         share_, problem_.epsilon);
                    means[cell + j * stride] = store_.mean(own_[t], t, k, j) = fit.mean;
                    gains[cell + j * stride] = store_.gain(own_[t], t, k, j) = fit.gain;
                    if (fit.untied) untied[t].of[0] = 1.0;
                }
            });
        });
        const bool found = block_.template reduce<Largest>(untied).of[0] > 0;
        block_.each([&](int t) {
            each_pixel(t, [&](int k, int j, int cell, int count) {
                const double grey = store_.grey[cell];
                double fitted = 0;
                DSNET_UNROLL
                for (int around = 0; around < 9; ++around) {
                    const int i = cell + (around / 3 - 1) * stride + around % 3 - 1;
                    fitted += gains[i] * ((grey - means[i]) * (grey - means[i]));
                }
                store_.relax(own_[t], t, k, j) =
                    count > 0 ? relaxation(count, share_, problem_.weight, fitted) : 0.0f;
            });
        });
        block_.sync();
        return found;
    }

    // body(k, j, cell, count) for the pixels of the thread's strips.
    template <class Body>
    DSNET_BLOCK void each_pixel(int t, Body body) {
        store_.each_slot(t, pixels_, [&](int k) {
            const int cell = store_.pixel(own_[t], t, k);
            const std::uint32_t counts = store_.counts(own_[t], t, k);
            DSNET_UNROLL
            for (int j = 0; j < kStrip; ++j)
                body(k, j, cell + j * region_.stride, count_of(counts, j));
        });
    }

    // Slope and offset of the windows over p.
    DSNET_BLOCK void regress() {
        block_.each([&](int t) {
            store_.each_slot(t, windows_, [&](int k) {
                const int cell = int(store_.window(own_[t], t, k) >> kStrip);
                double sums[kStrip], moments[kStrip];
                window_moments(store_.p, store_.grey, region_.stride, cell, sums, moments);
                DSNET_UNROLL
                for (int j = 0; j < kStrip; ++j) {
                    const double mean = store_.mean(own_[t], t, k, j);
                    const double gain = store_.gain(own_[t], t, k, j);
                    const double slope = gain * (moments[j] - mean * sums[j]);
                    const double part = gain > 0 ? share_ * sums[j] : 0.0;
                    store_.slope[cell + j * region_.stride] = slope;
                    store_.offset[cell + j * region_.stride] = part - mean * slope;
                }
            });
        });
        block_.sync();
    }

    // body(k, j, cell, count, v), v the sum of slope I + offset over the windows around a pixel.
    template <class Body>
    DSNET_BLOCK void each_fitted(int t, Body body) {
        store_.each_slot(t, pixels_, [&](int k) {
            const int cell = store_.pixel(own_[t], t, k);
            const std::uint32_t counts = store_.counts(own_[t], t, k);
            double fitted[kStrip];
            fitted_values(store_.slope, store_.offset, store_.grey, region_.stride, cell, fitted);
            DSNET_UNROLL
            for (int j = 0; j < kStrip; ++j)
                body(k, j, cell + j * region_.stride, count_of(counts, j), fitted[j]);
        });
    }

    // b = r = -L known + weight prior, brought to norm 1, and x = 0; returns the norm that it had.
    DSNET_BLOCK double take_right_side() {
        regress();
        Own<Values<1>> squares;
        block_.each([&](int t) {
            double sum = 0;
            each_fitted(t, [&](int k, int j, int cell, int count, double fitted) {
                double value = 0;
                if (count > 0) {
                    value = fitted;
                    if (problem_.prior != nullptr)
                        value += problem_.weight * problem_.prior[pixel_at(cell)];
                }
                store_.r(own_[t], t, k, j) = value;
                sum += value * value;
            });
            squares[t] = {{sum}};
            each_cell(t, [&](int cell, int) { store_.p[cell] = 0.0; });
        });
        const double norm = sqrt(block_.template reduce<Sum>(squares).of[0]);
        const double factor = norm > 0 ? 1.0 / norm : 0.0;
        block_.each([&](int t) {
            each_pixel(t, [&](int k, int j, int, int) {
                store_.r(own_[t], t, k, j) *= factor;
                store_.b(t, k, j) = store_.r(own_[t], t, k, j);
                store_.x(own_[t], t, k, j) = 0.0;
            });
        });
        return norm;
    }

    // As ConjugateGradients::run in matting.cpp. Returns the true residual.
    DSNET_BLOCK double solve(double rtol, std::int32_t& made) {
        double norm = 1.0;
        while (norm > rtol && made < problem_.max_iterations) {
            const double before = norm;
            block_.each([&](int t) {
                each_pixel(t, [&](int k, int j, int, int) {
                    store_.before(t, k, j) = store_.x(own_[t], t, k, j);
                });
            });
            descend(rtol, made);
            norm = residual();
            if (norm < 0.5 * before) continue;
            if (!(norm < before)) {
                block_.each([&](int t) {
                    each_pixel(t, [&](int k, int j, int, int) {
                        store_.x(own_[t], t, k, j) = store_.before(t, k, j);
                    });
                });
                norm = residual();
            }
            break;
        }
        return norm;
    }

    DSNET_BLOCK void descend(double rtol, std::int32_t& made) {
        double energy = step(0.0).of[1];
        double beta = 0.0;
        while (made < problem_.max_iterations) {
            block_.each([&](int t) {
                each_pixel(t, [&](int k, int j, int cell, int count) {
                    if (count == 0) return;
                    const double z = double(store_.relax(own_[t], t, k, j)) *
                                     store_.r(own_[t], t, k, j);
                    store_.p[cell] = beta == 0.0 ? z : z + beta * store_.p[cell];
                });
            });
            block_.sync();
            const double curvature = apply();
            if (!(curvature > 0 && energy > 0)) return;  // breakdown by rounding
            const Values<2> sums = step(energy / curvature);
            ++made;
            if (sqrt(sums.of[0]) <= rtol) return;
            beta = sums.of[1] / energy;
            energy = sums.of[1];
        }
    }

    // q = A p; returns p . q.
    DSNET_BLOCK double apply() {
        regress();
        Own<Values<1>> products;
        block_.each([&](int t) {
            double sum = 0;
            each_fitted(t, [&](int k, int j, int cell, int count, double fitted) {
                const double own = store_.p[cell];
                const double value = count > 0 ? (count + problem_.weight) * own - fitted : 0.0;
                store_.q(own_[t], t, k, j) = value;
                sum += own * value;
            });
            products[t] = {{sum}};
        });
        return block_.template reduce<Sum>(products).of[0];
    }

    // x += alpha p, r -= alpha q; returns r . r and r . relax r. With alpha 0 these alone.
    DSNET_BLOCK Values<2> step(double alpha) {
        Own<Values<2>> sums;
        block_.each([&](int t) {
            double squares = 0, energy = 0;
            each_pixel(t, [&](int k, int j, int cell, int count) {
                if (count == 0) return;
                double left = store_.r(own_[t], t, k, j);
                if (alpha != 0.0) {
                    store_.x(own_[t], t, k, j) += alpha * store_.p[cell];
                    left -= alpha * store_.q(own_[t], t, k, j);
                    store_.r(own_[t], t, k, j) = left;
                }
                squares += left * left;
                energy += double(store_.relax(own_[t], t, k, j)) * left * left;
            });
            sums[t] = {{squares, energy}};
        });
        return block_.template reduce<Sum>(sums);
    }

    // r = b - A x; returns its norm.
    DSNET_BLOCK double residual() {
        block_.each([&](int t) {
            each_pixel(t, [&](int k, int j, int cell, int count) {
                if (count > 0) store_.p[cell] = store_.x(own_[t], t, k, j);
            });
        });
        block_.sync();
        apply();
        Own<Values<1>> squares;
        block_.each([&](int t) {
            double sum = 0;
            each_pixel(t, [&](int k, int j, int, int count) {
                const double left =
                    count > 0 ? store_.b(t, k, j) - store_.q(own_[t], t, k, j) : 0.0;
                store_.r(own_[t], t, k, j) = left;
                sum += left * left;
            });
            squares[t] = {{sum}};
        });
        return sqrt(block_.template reduce<Sum>(squares).of[0]);
    }

    // Returns x . x.
    DSNET_BLOCK double write_alpha(double norm) {
        Own<Values<1>> squares;
        block_.each([&](int t) {
            double sum = 0;
            each_pixel(t, [&](int k, int j, int cell, int count) {
                if (count == 0) return;
                const double value = store_.x(own_[t], t, k, j);
                sum += value * value;
                problem_.alpha[pixel_at(cell)] = clamped(value * norm);
            });
            squares[t] = {{sum}};
        });
        return block_.template reduce<Sum>(squares).of[0];
    }

    DSNET_BLOCK int pixel_at(int cell) const {
        const int y = cell / region_.stride, x = cell - y * region_.stride;
        return (region_.top + y) * problem_.cols + region_.left + x;
    }

    Block& block_;
    Store& store_;
    const Problem& problem_;
    Own<Thread> own_;
    Region region_;
    int pixels_ = 0, windows_ = 0;  // strips
    double share_ = 0;              // 1 / pixels of a window
};

}  // namespace dsnet::matting_device
