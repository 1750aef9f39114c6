// A block of threads weighs how likely each pixel near a RECIST mark is lesion: `weigh_evidence`,
// to the bit.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/gpu_block.h"
#include "edge/curve.h"
#include "edge/gpu_network.h"
#include "edge/pixel.h"

namespace dsnet::edge_device {

using pixel::Place, pixel::Point;

// What the block's threads share of the mark's frame. Its activations' memory holds the keys of the
// search for quantiles before, and how many cells there are of each step of log-odds after.
struct FrameScratch {
    float grey[kCells];
    float log_odds[kCells];  // of the cells, then less what their grey values say of pixels
    FrameActivations activations;
    EdgeThreshold threshold;
    float detail;  // log-odds of a grey value

    static_assert(kCells <= FrameActivations::kFineWords && kSteps <= FrameActivations::kFineWords);
    DSNET_HOST_DEVICE std::int32_t* keys() { return activations.fine; }
    DSNET_HOST_DEVICE std::int32_t* counts() { return activations.fine; }
};

// A whole image, row by row.
struct GreyImage {
    const float* first;
    int rows, cols;
};

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

template <class Block>
class Evidence {
  public:
    // `frame` is written to.
    DSNET_DEVICE Evidence(Block& block, const EdgePlan& plan, const EdgeNetwork& network,
                          GreyImage image, FrameScratch& frame)
        : block_(block),
          plan_(plan),
          network_(network),
          image_(image),
          frame_(frame),
          keys_(frame.keys()) {}

    // Writes the log-odds of the plan's window, which begins at (`top`, `left`), row by row. Below
    // kLeastContrast the grey values say nothing: nothing is written, and there is no threshold.
    DSNET_DEVICE EdgeOutcome run(int top, int left, float* log_odds) {
        sample();
        const Levels levels = measure_levels();
        const double contrast = levels.lesion - levels.surroundings;
        if (fabs(contrast) < kLeastContrast) return {contrast, {}};
        const double beside = levels.spread / fabs(contrast);
        const double spread = beside < kMostSpread ? beside : kMostSpread;
        const float scale = float(contrast);
        block_.each([&](int t) {
            if (t == 0) frame_.detail = pixel::detail_of(scale, float(spread));
        });
        enter(float(levels.surroundings), scale, spread);
        NetworkOfFrame<Block>(block_, network_, frame_.activations).run(frame_.log_odds);
        settle();
        spread_out(top, left, log_odds);
        return {contrast, frame_.threshold};
    }

  private:
    struct Levels {
        double lesion, surroundings, spread;
    };

    DSNET_HOST_DEVICE Place<float> place_of(int cell) const {
        return pixel::place_of(plan_.curve, float(cell / kGrid), float(cell % kGrid));
    }

    // Leaves the cells' grey values.
    DSNET_DEVICE void sample() {
        block_.each([&](int t) {
            for (int cell = t; cell < kCells; cell += Block::kThreads)
                frame_.grey[cell] = grey_of(cell / kGrid, cell % kGrid);
        });
        block_.sync();
    }

    // The mean of a cell's samples.
    DSNET_HOST_DEVICE float grey_of(int row, int column) const {
        const int samples = plan_.curve.samples;
        const float each = 1.0f / float(samples), share = 1.0f / float(samples * samples);
        float sum = 0.0f;
        for (int b = 0; b < samples; ++b)
            for (int a = 0; a < samples; ++a)
                sum += grey_at(pixel::sample_of(plan_.curve, float(row) + (float(b) + 0.5f) * each,
                                                float(column) + (float(a) + 0.5f) * each));
        return sum * share;
    }

    // Of the nearest place of the image.
    DSNET_HOST_DEVICE float grey_at(Point<float> place) const {
        const float last_x = float(image_.cols - 1), last_y = float(image_.rows - 1);
        const float x = pixel::within(place.x, 0.0f, last_x);
        const float y = pixel::within(place.y, 0.0f, last_y);
        // The last pixel is the far end of the square before it.
        const float left =
            pixel::lesser_of(float(std::int32_t(x)), image_.cols > 1 ? last_x - 1.0f : 0.0f);
        const float top =
            pixel::lesser_of(float(std::int32_t(y)), image_.rows > 1 ? last_y - 1.0f : 0.0f);
        const int right = image_.cols > 1 ? 1 : 0, down = image_.rows > 1 ? image_.cols : 0;
        const float* const from =
            image_.first + std::int64_t(std::int32_t(top)) * image_.cols + std::int32_t(left);
        const float above = pixel::mixed(from[0], from[right], x - left);
        const float below = pixel::mixed(from[down], from[down + right], x - left);
        return pixel::mixed(above, below, y - top);
    }

    // Chooses the cells for which of(cell, value) holds, which sets their value; returns how many.
    template <class Of>
    DSNET_DEVICE int choose(Of of) {
        return block_.sum([&](int t) {
            int found = 0;
            for (int cell = t; cell < kCells; cell += Block::kThreads) {
                float value;
                const bool chosen = of(cell, value);
                keys_[cell] = chosen ? key_of(value) : kNoKey;
                found += chosen;
            }
            return found;
        });
    }

    // The values that `rank` and `rank` + 1 others precede, the same at the end.
    DSNET_DEVICE void select(int count, int rank, float found[2]) {
        std::int32_t low = least_key([&](std::int32_t key) { return key; });
        // ~ turns the order round.
        std::int32_t high =
            ~least_key([&](std::int32_t key) { return key == kNoKey ? kNoKey : ~key; });
        int up_to_high = count;
        while (low < high && up_to_high != rank + 1) {
            const auto middle = std::int32_t((std::int64_t(low) + high) >> 1);
            const int below = block_.sum([&](int t) {
                int all = 0;
                for (int cell = t; cell < kCells; cell += Block::kThreads)
                    all += keys_[cell] <= middle;
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
            for (int cell = t; cell < kCells; cell += Block::kThreads) {
                const std::int32_t key = of(keys_[cell]);
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
            return choose([&](int cell, float& value) {
                value = frame_.grey[cell];
                return place_of(cell).share <= limit;
            });
        };
        int count = by_share(kCoreShare);
        if (count < kLeastCore) {
            count = choose([&](int cell, float& value) {
                value = place_of(cell).share;
                return true;
            });
            float limit[2];
            select(count, kLeastCore - 1, limit);
            count = by_share(limit[0]);
        }
        Levels levels;
        levels.lesion = quantile(count, 0.5);
        count = choose([&](int cell, float& value) {
            const float outside = place_of(cell).outside;
            value = frame_.grey[cell];
            return outside > kRingBegin && outside <= plan_.curve.ring;
        });
        if (count < kLeastRing)
            count = choose([&](int cell, float& value) {
                value = frame_.grey[cell];
                return true;
            });
        const double bright = quantile(count, 0.75), dark = quantile(count, 0.25);
        const bool darker = levels.lesion < bright &&
                            fabs(levels.lesion - bright) > 2 * fabs(levels.lesion - dark);
        levels.surroundings = darker ? bright : dark;
        levels.spread = bright - dark;
        return levels;
    }

    // What the network is told: squares of four cells are its places.
    DSNET_DEVICE void enter(float surroundings, float scale, double spread) {
        FrameActivations& to = frame_.activations;
        block_.each([&](int t) {
            for (int output = t; output < kEdgeLayer[kEnter].outputs; output += Block::kThreads)
                to.first_bias[output] =
                    pixel::first_bias(network_, output, plan_.constants, spread);
            for (int i = t; i < kCells / 2; i += Block::kThreads) {
                const int row = i / kFine, place = row / 2 * kFine + i % kFine;
                std::int32_t told[2][kCellInputs];
                for (int column = 0; column < 2; ++column)
                    tell(row * kGrid + i % kFine * 2 + column, surroundings, scale, told[column]);
                for (int input = 0; input < kCellInputs; ++input)
                    to.entered()[(2 * input + row % 2) * kFine * kFine + place] =
                        pair_of(told[0][input], told[1][input]);
            }
        });
        block_.sync();
    }

    DSNET_HOST_DEVICE void tell(int cell, float surroundings, float scale,
                                std::int32_t (&told)[kCellInputs]) const {
        const float outside = place_of(cell).outside;
        told[0] = std::int32_t(pixel::told_grey(frame_.grey[cell], surroundings, scale));
        told[1] = std::int32_t(pixel::told_pixels(outside));
        told[2] = std::int32_t(pixel::told_share(outside, plan_.curve.half_short));
    }

    // Leaves the threshold, and of the cells what is added to a pixel's own.
    DSNET_DEVICE void settle() {
        std::int32_t* const counts = frame_.counts();
        block_.each([&](int t) {
            for (int k = t; k < kSteps; k += Block::kThreads) counts[k] = 0;
        });
        block_.sync();
        block_.each([&](int t) {
            for (int cell = t; cell < kCells; cell += Block::kThreads) {
                const float odds = frame_.log_odds[cell];
                if (pixel::in_image(plan_.curve, float(cell / kGrid) + 0.5f,
                                    float(cell % kGrid) + 0.5f, image_.rows, image_.cols))
                    block_.add(counts[int(pixel::step_of(odds))], 1);
                frame_.log_odds[cell] = odds - frame_.grey[cell] * frame_.detail;
            }
        });
        block_.sync();
        block_.each([&](int t) {
            if (t == 0) frame_.threshold = pixel::best_threshold(counts, network_.probability);
        });
        block_.sync();
    }

    // The window's log-odds from those of the cells around, and the pixels' own grey values.
    DSNET_DEVICE void spread_out(int top, int left, float* log_odds) {
        block_.each([&](int t) {
            for (int i = t; i < plan_.rows * plan_.cols; i += Block::kThreads) {
                const int y = top + i / plan_.cols, x = left + i % plan_.cols;
                log_odds[i] = odds_at(y, x, pixel::cell_of(plan_.curve, float(y), float(x)));
            }
        });
        block_.sync();
    }

    // Within +-kCertain; -kCertain outside the frame.
    DSNET_HOST_DEVICE float odds_at(int row, int column, Point<float> cell) const {
        if (!pixel::in_frame(cell)) return -kCertain;
        const float x = pixel::within(cell.x, 0.0f, float(kGrid - 1));
        const float y = pixel::within(cell.y, 0.0f, float(kGrid - 1));
        const int left = bounded(std::int32_t(x), 0, kGrid - 2);
        const int top = bounded(std::int32_t(y), 0, kGrid - 2);
        const float* const from = frame_.log_odds + top * kGrid + left;
        const float share = x - float(left);
        const float above = pixel::mixed(from[0], from[1], share);
        const float below = pixel::mixed(from[kGrid], from[kGrid + 1], share);
        const float odds = pixel::mixed(above, below, y - float(top));
        const float own = image_.first[std::int64_t(row) * image_.cols + column] * frame_.detail;
        return pixel::within(odds + own, -kCertain, kCertain);
    }

    Block& block_;
    const EdgePlan& plan_;
    const EdgeNetwork& network_;
    const GreyImage image_;
    FrameScratch& frame_;
    std::int32_t* const keys_;
};

}  // namespace dsnet::edge_device
