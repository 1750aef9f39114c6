// A block of threads weighs how likely each pixel near a RECIST mark is lesion: `weigh_evidence`,
// to the bit.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/gpu_block.h"
#include "edge/curve.h"
#include "edge/pixel.h"

namespace dsnet::edge_device {

using pixel::Place;

// Of the window's pixels, row by row.
struct EdgePlanes {
    float *relative, *scratch, *log_odds;
    float* smooth;  // the smoothed planes one after the other
    std::int32_t* keys;
};

// Weights of a mark's own network, which all threads read.
struct FoldedNetwork {
    float weight1[kHidden][kVaryingFeatures], bias1[kHidden];
    float weight2[kHidden][kHidden], bias2[kHidden];
    float weight3[kHidden], bias3;
};

// A row-major part of an image.
struct GreyWindow {
    const float* first;
    std::int64_t stride;
};

DSNET_HOST_DEVICE int bounded(int value, int most) {
    return value < 0 ? 0 : value > most ? most : value;
}

// Whole numbers in the order of the floating-point ones, and back.
constexpr std::int32_t kNoKey = 0x7fffffff;
DSNET_HOST_DEVICE std::int32_t ordered(std::int32_t bits) {
    return bits ^ ((bits >> 31) & 0x7fffffff);
}
DSNET_HOST_DEVICE std::int32_t key_of(float value) {
    std::int32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return ordered(bits);
}
DSNET_HOST_DEVICE float value_of(std::int32_t key) {
    const std::int32_t bits = ordered(key);
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

// Its inputs are in registers: all of the sum is written out.
template <int kInputs>
DSNET_HOST_DEVICE float neuron(float bias, const float (&in)[kInputs],
                               const float (&weight)[kInputs]) {
    float sum = bias;
    DSNET_UNROLL
    for (int k = 0; k < kInputs; ++k) sum += in[k] * weight[k];
    return pixel::greater_of(sum, 0.0f);
}

template <class Block>
class Evidence {
  public:
    // `folded` is written to.
    DSNET_DEVICE Evidence(Block& block, const EdgePlan& plan, const EdgeNetwork& network,
                          const EdgeTaps& taps, GreyWindow grey, const EdgePlanes& planes,
                          FoldedNetwork& folded)
        : block_(block),
          plan_(plan),
          given_(network),
          taps_(taps),
          grey_(grey),
          planes_(planes),
          network_(folded),
          rows_(plan.rows),
          cols_(plan.cols),
          size_(plan.rows * plan.cols) {}

    // Writes the log-odds, and returns how strong the contrast is. Below kLeastContrast the grey
    // values say nothing, and nothing is written.
    DSNET_DEVICE double run() {
        const Levels levels = measure_levels();
        const double contrast = levels.lesion - levels.surroundings;
        if (fabs(contrast) < kLeastContrast) return fabs(contrast);
        find_reachable();
        normalise(float(levels.surroundings), float(contrast));
        for (int s = 0; s < kSmoothings; ++s) smooth(s);
        const double spread = levels.spread / fabs(contrast);
        fold(spread < kMostSpread ? spread : kMostSpread);
        weigh();
        return fabs(contrast);
    }

  private:
    struct Levels {
        double lesion, surroundings, spread;
    };
    struct Measured {
        float share, outside;
    };

    template <class Body>
    DSNET_DEVICE void each_pixel(Body body) {
        block_.each([&](int t) {
            for (int i = t; i < size_; i += Block::kThreads) {
                const int y = i / cols_;
                body(i, y, i - y * cols_);
            }
        });
        block_.sync();
    }

    // The same of the rows and columns around the reachable pixels.
    template <class Body>
    DSNET_DEVICE void each_near(int columns_more, Body body) {
        const int top = bounded(top_ - 1, rows_), bottom = bounded(bottom_ + 1, rows_);
        const int left = bounded(left_ - columns_more, cols_);
        const int width = bounded(right_ + columns_more, cols_) - left;
        block_.each([&](int t) {
            for (int i = t; i < (bottom - top) * width; i += Block::kThreads) {
                const int y = i / width;
                body(top + y, left + i - y * width);
            }
        });
        block_.sync();
    }

    DSNET_HOST_DEVICE float* smoothed(int which) const {
        return planes_.smooth + which * std::int64_t(size_);
    }

    DSNET_HOST_DEVICE float grey_at(int y, int x) const {
        return grey_.first[y * grey_.stride + x];
    }

    DSNET_HOST_DEVICE Measured measured(int y, int x) const {
        const EdgeCurve& curve = plan_.curve;
        const Place<float> at = pixel::place_of(curve, float(y), float(x));
        const float share = pixel::share_of(at.u, at.v, at.half_u, at.half_v);
        return {share, pixel::outside_of(at.radius, share, curve.half_short)};
    }

    // Chooses the pixels for which of(y, x, value) holds, which sets their value; returns how many.
    template <class Of>
    DSNET_DEVICE int choose(Of of) {
        const int count = block_.sum([&](int t) {
            int found = 0;
            for (int i = t; i < size_; i += Block::kThreads) {
                const int y = i / cols_;
                float value;
                const bool chosen = of(y, i - y * cols_, value);
                planes_.keys[i] = chosen ? key_of(value) : kNoKey;
                found += chosen;
            }
            return found;
        });
        return count;
    }

    // The values that `rank` and `rank` + 1 others precede, the same at the end.
    DSNET_DEVICE void select(int count, int rank, float found[2]) {
        const std::int32_t* const keys = planes_.keys;
        std::int32_t low = least_key([&](std::int32_t key) { return key; });
        // ~ turns the order round.
        std::int32_t high =
            ~least_key([&](std::int32_t key) { return key == kNoKey ? kNoKey : ~key; });
        int up_to_high = count;
        while (low < high && up_to_high != rank + 1) {
            const auto middle = std::int32_t((std::int64_t(low) + high) >> 1);
            const int below = block_.sum([&](int t) {
                int all = 0;
                for (int i = t; i < size_; i += Block::kThreads) all += keys[i] <= middle;
                return all;
            });
            if (below > rank) {
                high = middle;
                up_to_high = below;
            } else {
                low = middle + 1;
            }
        }
        const std::int32_t at =
            ~least_key([&](std::int32_t key) { return key <= high ? ~key : kNoKey; });
        found[0] = value_of(at);
        found[1] = found[0];
        if (up_to_high > rank + 1 || rank + 1 == count) return;
        found[1] =
            value_of(least_key([&](std::int32_t key) { return key <= high ? kNoKey : key; }));
    }

    template <class Of>
    DSNET_DEVICE std::int32_t least_key(Of of) {
        return block_.least([&](int t) {
            std::int32_t least = kNoKey;
            for (int i = t; i < size_; i += Block::kThreads) {
                const std::int32_t key = of(planes_.keys[i]);
                least = key < least ? key : least;
            }
            return least;
        });
    }

    // As numpy.percentile with linear interpolation; `share` in 0..1.
    DSNET_DEVICE double quantile(int count, double share) {
        const double place = share * double(count - 1);
        const double step = place - floor(place);
        float found[2];
        select(count, int(place), found);
        const double low = found[0], high = found[1];
        return step < 0.5 ? low + (high - low) * step : high - (high - low) * (1.0 - step);
    }

    DSNET_DEVICE Levels measure_levels() {
        const auto by_share = [&](float limit) {
            return choose([&](int y, int x, float& value) {
                value = grey_at(y, x);
                return measured(y, x).share <= limit;
            });
        };
        int count = by_share(kCoreShare);
        if (count < kLeastCore) {
            count = choose([&](int y, int x, float& value) {
                value = measured(y, x).share;
                return true;
            });
            float limit[2];
            select(count, count <= kLeastCore ? count - 1 : kLeastCore, limit);
            count = by_share(limit[0]);
        }
        Levels levels;
        levels.lesion = quantile(count, 0.5);
        count = choose([&](int y, int x, float& value) {
            const float outside = measured(y, x).outside;
            value = grey_at(y, x);
            return outside > kRingBegin && outside <= plan_.ring;
        });
        if (count < kLeastRing)
            count = choose([&](int y, int x, float& value) {
                value = grey_at(y, x);
                return true;
            });
        const double bright = quantile(count, 0.75), dark = quantile(count, 0.25);
        const bool darker = levels.lesion < bright &&
                            fabs(levels.lesion - bright) > 2 * fabs(levels.lesion - dark);
        levels.surroundings = darker ? bright : dark;
        levels.spread = bright - dark;
        return levels;
    }

    // The box of the pixels within the reach; empty without any.
    DSNET_DEVICE void find_reachable() {
        const auto least_of = [&](auto of) {
            return block_.least([&](int t) {
                int least = kNoKey;
                for (int i = t; i < size_; i += Block::kThreads) {
                    const int y = i / cols_, x = i - y * cols_;
                    const int place = of(y, x);
                    if (place < least && measured(y, x).outside <= plan_.curve.reach) least = place;
                }
                return least;
            });
        };
        top_ = least_of([](int y, int) { return y; });
        if (top_ == kNoKey) {
            top_ = bottom_ = left_ = right_ = 0;
            return;
        }
        bottom_ = rows_ - least_of([&](int y, int) { return rows_ - 1 - y; });
        left_ = least_of([](int, int x) { return x; });
        right_ = cols_ - least_of([&](int, int x) { return cols_ - 1 - x; });
    }

    DSNET_DEVICE void normalise(float surroundings, float scale) {
        each_pixel([&](int i, int y, int x) {
            planes_.relative[i] =
                pixel::within((grey_at(y, x) - surroundings) / scale, kLowestGrey, kHighestGrey);
        });
    }

    // Where pixels within the reach and their neighbours lie.
    DSNET_DEVICE void smooth(int which) {
        const float* const taps = taps_.weight[which];
        const int radius = taps_.radius[which];
        each_near(radius + 1, [&](int y, int x) {
            const float* const column = planes_.relative + x;
            float sum = column[y * cols_] * taps[0];
            for (int k = 1; k <= radius; ++k)
                sum += (column[bounded(y - k, rows_ - 1) * cols_] +
                        column[bounded(y + k, rows_ - 1) * cols_]) *
                       taps[k];
            planes_.scratch[y * cols_ + x] = sum;
        });
        each_near(1, [&](int y, int x) {
            const float* const row = planes_.scratch + y * cols_;
            float sum = row[x] * taps[0];
            for (int k = 1; k <= radius; ++k)
                sum += (row[bounded(x - k, cols_ - 1)] + row[bounded(x + k, cols_ - 1)]) * taps[k];
            smoothed(which)[y * cols_ + x] = sum;
        });
    }

    // The features that are the same for all pixels join the first layer's bias.
    DSNET_DEVICE void fold(double spread) {
        const EdgeNetwork& network = given_;
        block_.each([&](int t) {
            for (int k = t; k < kHidden * kVaryingFeatures; k += Block::kThreads)
                network_.weight1[k / kVaryingFeatures][k % kVaryingFeatures] =
                    network.weight1[k / kVaryingFeatures][k % kVaryingFeatures];
            for (int k = t; k < kHidden * kHidden; k += Block::kThreads)
                network_.weight2[k / kHidden][k % kHidden] =
                    network.weight2[k / kHidden][k % kHidden];
            for (int k = t; k < kHidden; k += Block::kThreads) {
                double bias = network.bias1[k];
                bias += double(network.weight1[k][kVaryingFeatures]) * plan_.same[0];
                bias += double(network.weight1[k][kVaryingFeatures + 1]) * plan_.same[1];
                bias += double(network.weight1[k][kVaryingFeatures + 2]) * spread;
                network_.bias1[k] = float(bias);
                network_.bias2[k] = network.bias2[k];
                network_.weight3[k] = network.weight3[k];
            }
            if (t == 0) network_.bias3 = network.bias3;
        });
        block_.sync();
    }

    DSNET_DEVICE void weigh() {
        each_pixel([&](int i, int y, int x) {
            const float outside = measured(y, x).outside;
            planes_.log_odds[i] = outside <= plan_.curve.reach ? odds_at(y, x, outside) : -kCertain;
        });
    }

    DSNET_HOST_DEVICE pixel::Greys<float> greys_at(int y, int x) const {
        const int above = bounded(y - 1, rows_ - 1) * cols_;
        const int below = bounded(y + 1, rows_ - 1) * cols_;
        const int left = bounded(x - 1, cols_ - 1), right = bounded(x + 1, cols_ - 1);
        const int row = y * cols_;
        pixel::Greys<float> grey;
        grey.relative = grey.high = grey.low = planes_.relative[row + x];
        for (int dy = -1; dy <= 1; ++dy) {
            const float* const of_row = planes_.relative + bounded(y + dy, rows_ - 1) * cols_;
            for (int dx = -1; dx <= 1; ++dx) {
                const float value = of_row[bounded(x + dx, cols_ - 1)];
                grey.high = pixel::greater_of(grey.high, value);
                grey.low = pixel::lesser_of(grey.low, value);
            }
        }
        const float* const narrow = smoothed(0);
        grey.here = narrow[row + x];
        grey.above = narrow[above + x];
        grey.below = narrow[below + x];
        grey.left = narrow[row + left];
        grey.right = narrow[row + right];
        grey.wide = smoothed(1)[row + x];
        grey.widest = smoothed(2)[row + x];
        grey.by_row = y == 0 || y == rows_ - 1 ? 1.0f : 0.5f;
        grey.by_column = x == 0 || x == cols_ - 1 ? 1.0f : 0.5f;
        return grey;
    }

    DSNET_HOST_DEVICE float odds_at(int y, int x, float outside) const {
        const Place<float> at = pixel::place_of(plan_.curve, float(y), float(x));
        float features[kVaryingFeatures], first[kHidden];
        pixel::describe_pixel(plan_.curve, at, outside, greys_at(y, x),
                              [&](int k, float value) { features[k] = value; });
        DSNET_UNROLL
        for (int n = 0; n < kHidden; ++n)
            first[n] = neuron(network_.bias1[n], features, network_.weight1[n]);
        float odds = network_.bias3;
        DSNET_ROLLED
        for (int n = 0; n < kHidden; ++n)
            odds += neuron(network_.bias2[n], first, network_.weight2[n]) * network_.weight3[n];
        return pixel::within(odds, -kCertain, kCertain);
    }

    Block& block_;
    const EdgePlan& plan_;
    const EdgeNetwork& given_;
    const EdgeTaps& taps_;
    const GreyWindow grey_;
    const EdgePlanes planes_;
    FoldedNetwork& network_;
    const int rows_, cols_, size_;
    int top_ = 0, bottom_ = 0, left_ = 0, right_ = 0;
};

}  // namespace dsnet::edge_device
