// Closed-form matting of one image by a block of threads or a cluster of blocks: the method of
// matting.cpp, preconditioned by the diagonal.
//
// An iteration has four barriers: windows regress the direction on grey; pixels gather the windows
// and the curvature is summed; pixels step and the residual is summed; the new direction is
// written.
// Sums are taken in an order fixed by the number of threads.
#pragma once

#include "matting/gpu_system.h"

namespace dsnet::matting_device {

template <class Block, class Store>
class MattingSolve : private MattingSystem<Block, Store> {
    using System = MattingSystem<Block, Store>;

  public:
    using System::System;

    // The result is in the frames, once the threads have synced.
    DSNET_DEVICE void run() {
        cuda::MattingResult result = {0.0, cuda::kMattingDone, 0, 0, 1, 0, 0};
        const Values<3> counted = this->take_census(result.status);
        if (result.status != cuda::kMattingDone) {
            if (result.status != cuda::kMattingPending) this->fill_alpha(true, 0.0f);
            return report(result);
        }
        const double unknowns = counted.of[0], foreground = counted.of[1];
        const double background = counted.of[2];
        const float open = open_alpha(foreground, background);
        result.unknowns = int(unknowns);
        if (unknowns == 0 || foreground == 0 || background == 0) {
            this->fill_alpha(false, open);
            return report(result);
        }
        if (!this->load()) {
            result.status = cuda::kMattingPending;
            return report(result);
        }
        result.solved = 1;
        const bool few = least(foreground, background) < kFewKnown;
        const bool two_valued = this->take_statistics();
        const bool untied = problem().prior == nullptr && (few || two_valued);
        const double rtol = untied ? least(problem().rtol, kUntiedRtol) : problem().rtol;
        const double norm = take_right_side();
        if (!(norm > 0)) {  // nothing draws alpha away from 0
            this->fill_alpha(false, open);
            return report(result);
        }
        block_.once([&](int t, int) {
            frame(t).norm = norm;
            frame(t).rtol = rtol;
            frame(t).result = result;
            frame(t).result.converged = untied;
        });
        block_.sync();
        std::int32_t made = 0;
        const double residual = solve(made);
        finish(residual, made);
    }

  private:
    template <class T>
    using Own = typename Block::template Own<T>;
    using System::block_, System::own_, System::frame, System::store, System::problem;
    using System::local, System::stride, System::each_pixel;

    DSNET_DEVICE void report(const cuda::MattingResult& result) {
        block_.once([&](int t, int) { frame(t).result = result; });
    }

    DSNET_DEVICE void finish(double residual, std::int32_t made) {
        const double rounding =
            kRounding * (9.0 + problem().weight) * sqrt(write_alpha(frame().norm));
        block_.once([&](int t, int) {
            cuda::MattingResult& result = frame(t).result;
            const bool untied = result.converged != 0;
            const double asked = untied ? least(problem().rtol, kUntiedSlack * frame(t).rtol)
                                        : frame(t).rtol;
            result.iterations = made;
            result.residual = residual;
            result.converged = residual <= most(asked, rounding) ? 1 : 0;
        });
    }

    // Slope and offset of the windows over p.
    DSNET_DEVICE void regress() {
        block_.each([&](int t) {
            auto& own = store(t);
            const double share = frame().share;
            const Neighbours to = frame(t).neighbours;
            own.each_slot(local(t), frame(t).windows, [&](int k) {
                const int cell = int(own.window(own_[t], local(t), k) >> kStrip);
                double sums[kStrip], moments[kStrip], greys[kStrip];
                window_moments(own.p, own.grey, stride(), cell, sums, moments, greys);
                DSNET_UNROLL
                for (int j = 0; j < kStrip; ++j) {
                    const double mean = share * greys[j];
                    const double gain = own.gain(own_[t], local(t), k, j);
                    const double slope = gain * (moments[j] - mean * sums[j]);
                    const double part = gain > 0 ? share * sums[j] : 0.0;
                    own.put(to, own.slope, cell + j * stride(), j, slope);
                    own.put(to, own.offset, cell + j * stride(), j, part - mean * slope);
                }
            });
        });
        block_.sync();
    }

    // body(k, j, cell, count, v), v the sum of slope I + offset over the windows around a pixel.
    template <class Body>
    DSNET_DEVICE void each_fitted(int t, Body body) {
        auto& own = store(t);
        own.each_slot(local(t), frame(t).pixels, [&](int k) {
            const int cell = own.pixel(own_[t], local(t), k);
            const std::uint32_t counts = own.counts(own_[t], local(t), k);
            double fitted[kStrip];
            fitted_values(own.slope, own.offset, own.grey, stride(), cell, fitted);
            DSNET_UNROLL
            for (int j = 0; j < kStrip; ++j)
                body(k, j, cell + j * stride(), count_of(counts, j), fitted[j]);
        });
    }

    // b = r = -L known + weight prior, brought to norm 1, and x = 0; returns the norm that it had.
    DSNET_DEVICE double take_right_side() {
        regress();
        Own<Values<1>> squares;
        block_.each([&](int t) {
            auto& own = store(t);
            double sum = 0;
            each_fitted(t, [&](int k, int j, int cell, int count, double fitted) {
                double value = 0;
                if (count > 0) {
                    value = fitted;
                    if (problem().prior != nullptr)
                        value += problem().weight * problem().prior[this->pixel_at(t, cell)];
                }
                own.r(own_[t], local(t), k, j) = value;
                sum += value * value;
            });
            squares[t] = {{sum}};
            this->each_cell(t, [&](int cell, int) { own.p[cell] = 0.0; });
        });
        const double norm = sqrt(block_.template reduce<Sum>(squares).of[0]);
        const double factor = norm > 0 ? 1.0 / norm : 0.0;
        block_.each([&](int t) {
            auto& own = store(t);
            each_pixel(t, [&](int k, int j, int, int) {
                double& r = own.r(own_[t], local(t), k, j);
                r *= factor;
                own.b(local(t), k, j) = r;
                own.x(own_[t], local(t), k, j) = 0.0;
            });
            own.take_relax(own_[t], local(t), frame(t).pixels);
        });
        return norm;
    }

    // As ConjugateGradients::run in matting.cpp. Returns the true residual.
    DSNET_DEVICE double solve(std::int32_t& made) {
        double norm = 1.0;
        while (norm > frame().rtol && made < problem().max_iterations) {
            block_.once([&](int t, int) { frame(t).residual = norm; });
            block_.each([&](int t) {
                each_pixel(t, [&](int k, int j, int, int) {
                    store(t).before(local(t), k, j) = store(t).x(own_[t], local(t), k, j);
                });
            });
            descend(made);
            norm = residual();
            const double before = frame().residual;
            if (norm < 0.5 * before) {
                block_.sync();
                continue;
            }
            if (!(norm < before)) {
                block_.each([&](int t) {
                    each_pixel(t, [&](int k, int j, int, int) {
                        store(t).x(own_[t], local(t), k, j) = store(t).before(local(t), k, j);
                    });
                });
                norm = residual();
            }
            break;
        }
        return norm;
    }

    DSNET_DEVICE void descend(std::int32_t& made) {
        double energy = step(0.0).of[1];
        double beta = 0.0;
        while (made < problem().max_iterations) {
            block_.each([&](int t) {
                auto& own = store(t);
                const Neighbours to = frame(t).neighbours;
                each_pixel(t, [&](int k, int j, int cell, int count) {
                    if (count == 0) return;
                    const double z = double(opaque(own.relax(own_[t], local(t), k, j))) *
                                     own.r(own_[t], local(t), k, j);
                    own.put(to, own.p, cell, j, beta == 0.0 ? z : z + beta * own.p[cell]);
                });
            });
            block_.sync();
            const double curvature = apply();
            if (!(curvature > 0 && energy > 0)) return;  // breakdown by rounding
            const Values<2> sums = step(energy / curvature);
            ++made;
            if (sqrt(sums.of[0]) <= frame().rtol) return;
            beta = sums.of[1] / energy;
            energy = sums.of[1];
        }
    }

    // q = A p; returns p . q.
    DSNET_DEVICE double apply() {
        regress();
        Own<Values<1>> products;
        block_.each([&](int t) {
            auto& own = store(t);
            const double weight = problem().weight;
            double sum = 0;
            each_fitted(t, [&](int k, int j, int cell, int count, double fitted) {
                const double p = own.p[cell];
                const double value = count > 0 ? (count + weight) * p - fitted : 0.0;
                own.q(own_[t], local(t), k, j) = value;
                sum += p * value;
            });
            products[t] = {{sum}};
        });
        return block_.template reduce<Sum>(products).of[0];
    }

    // x += alpha p, r -= alpha q; returns r . r and r . relax r. With alpha 0 these alone.
    DSNET_DEVICE Values<2> step(double alpha) {
        Own<Values<2>> sums;
        block_.each([&](int t) {
            auto& own = store(t);
            double squares = 0, energy = 0;
            each_pixel(t, [&](int k, int j, int cell, int count) {
                if (count == 0) return;
                double left = own.r(own_[t], local(t), k, j);
                if (alpha != 0.0) {
                    own.x(own_[t], local(t), k, j) += alpha * own.p[cell];
                    left -= alpha * own.q(own_[t], local(t), k, j);
                    own.r(own_[t], local(t), k, j) = left;
                }
                squares += left * left;
                energy += double(opaque(own.relax(own_[t], local(t), k, j))) * left * left;
            });
            sums[t] = {{squares, energy}};
        });
        return block_.template reduce<Sum>(sums);
    }

    // r = b - A x; returns its norm.
    DSNET_DEVICE double residual() {
        block_.each([&](int t) {
            auto& own = store(t);
            const Neighbours to = frame(t).neighbours;
            each_pixel(t, [&](int k, int j, int cell, int count) {
                if (count > 0) own.put(to, own.p, cell, j, own.x(own_[t], local(t), k, j));
            });
        });
        block_.sync();
        apply();
        Own<Values<1>> squares;
        block_.each([&](int t) {
            auto& own = store(t);
            double sum = 0;
            each_pixel(t, [&](int k, int j, int, int count) {
                const double left =
                    count > 0 ? own.b(local(t), k, j) - own.q(own_[t], local(t), k, j) : 0.0;
                own.r(own_[t], local(t), k, j) = left;
                sum += left * left;
            });
            squares[t] = {{sum}};
        });
        return sqrt(block_.template reduce<Sum>(squares).of[0]);
    }

    // Returns x . x.
    DSNET_DEVICE double write_alpha(double norm) {
        Own<Values<1>> squares;
        block_.each([&](int t) {
            double sum = 0;
            each_pixel(t, [&](int k, int j, int cell, int count) {
                if (count == 0) return;
                const double value = store(t).x(own_[t], local(t), k, j);
                sum += value * value;
                problem().alpha[this->pixel_at(t, cell)] = clamped(value * norm);
            });
            squares[t] = {{sum}};
        });
        return block_.template reduce<Sum>(squares).of[0];
    }
};

}  // namespace dsnet::matting_device
