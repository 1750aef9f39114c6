// A block of threads makes the trimap of a cut: `trimap_from_cut`, to the bit.
#pragma once

#include "cut/gpu_image.h"
#include "trimap/numbers.h"

namespace dsnet::cut_device {

template <class Block>
class CutTrimap : public CutImage<Block> {
  public:
    using CutImage<Block>::CutImage;

  protected:
    using CutImage<Block>::block_;
    using CutImage<Block>::chosen;
    using CutImage<Block>::cols_;
    using CutImage<Block>::each_word;
    using CutImage<Block>::flood;
    using CutImage<Block>::in_quadrilateral;
    using CutImage<Block>::holds_pixels;
    using CutImage<Block>::least_word;
    using CutImage<Block>::memory_;
    using CutImage<Block>::odds_at;
    using CutImage<Block>::rows_;
    using CutImage<Block>::rows_of;
    using CutImage<Block>::stride_;

    // Leaves the trimap's sure lesion in plane 1, what is unknown in plane 2.
    DSNET_DEVICE void split() {
        const Word* const lesion = memory_.bits(0);
        const int top =
            least_word(0, rows_, [&](int i, int y, int) { return lesion[i] != 0 ? y : kNoKey; });
        if (top == kNoKey) {
            each_word(0, rows_,
                      [&](int i, int, int) { memory_.bits(1)[i] = memory_.bits(2)[i] = 0; });
            return;
        }
        const int bottom = rows_ - least_word(0, rows_, [&](int i, int y, int) {
                               return lesion[i] != 0 ? rows_ - 1 - y : kNoKey;
                           });
        const double diameter = 2.0 * sqrt(double(largest_squared(top, bottom))) - 1.0;
        const double share = kFaintShare * (diameter > 0 ? diameter : 0.0);
        const double reach = share > kFaintLeast ? share : kFaintLeast;
        const int first = morphology_device::greater(top - int(reach), 0);
        const int last = morphology_device::lesser(bottom + int(reach), rows_);
        Word *inner = memory_.bits(1), *unknown = memory_.bits(2), *next = memory_.bits(3),
             *candidates = memory_.bits(4), *held = memory_.bits(5);
        each_word(0, rows_, [&](int i, int, int) { inner[i] = unknown[i] = next[i] = 0; });
        make_disc(reach, last - first);
        // `held`: what is left of the lesion inside the band.
        outline(first, last, held, candidates);
        each_word(first, last, [&](int i, int y, int w) {
            candidates[i] = chosen(candidates[i], w, [&](int x) {
                const float odds = odds_at(y, x);
                return odds < kFaintLogOdds && odds > -kFaintLogOdds;
            });
        });
        make_disc(kLeastMargin, last - first);
        outline(first, last, inner, unknown);
        each_word(first, last, [&](int i, int, int) { candidates[i] |= unknown[i]; });
        // Faint specks apart from the border say nothing about it.
        flood(unknown, next, candidates, first, last, false);
        const bool kept = block_.any([&](int t) {
            bool any = false;
            for (int i = first * stride_ + t; i < last * stride_; i += Block::kThreads) {
                inner[i] &= ~unknown[i];
                any |= inner[i] != 0;
            }
            return any;
        });
        if (!kept && !keep_quadrilateral(inner)) keep_most_certain(inner);
        unknown_ = unknown;
    }

    // Of the lesion's pixels to what lies outside it or the image: whole, as pixels are square.
    DSNET_DEVICE int largest_squared(int top, int bottom) {
        const BitRows outside = rows_of(memory_.bits(0), 0, rows_, true);
        return -least_word(top, bottom, [&](int i, int y, int w) {
            double largest = 0.0;
            for (Word word = memory_.bits(0)[i]; word != 0; word &= word - 1) {
                const int x = w * kWordBits + morphology_device::lowest_bit(word);
                const double found =
                    morphology_device::nearest_squared(outside, y, x, 1.0, 1.0, true, HUGE_VAL);
                largest = found > largest ? found : largest;
            }
            return -int(largest);
        });
    }

    DSNET_DEVICE void make_disc(double radius, int rows) {
        block_.each([&](int t) {
            for (int k = t; k < rows; k += Block::kThreads)
                memory_.chords[k] = morphology_device::half_chord(k, radius, 1.0, 1.0, cols_);
        });
        block_.sync();
    }

    // The lesion eroded by the disc, and what lies between that and the lesion dilated by it.
    DSNET_DEVICE void outline(int first, int last, Word* eroded, Word* between) {
        const BitRows lesion = rows_of(memory_.bits(0), first, last);
        const BitRows outside = rows_of(memory_.bits(0), first, last, true);
        each_word(first, last, [&](int i, int y, int w) {
            eroded[i] = lesion.at(y - first, w) &
                        ~morphology_device::dilated(outside, y - first, w, memory_.chords);
            between[i] = morphology_device::dilated(lesion, y - first, w, memory_.chords) &
                         ~eroded[i];
        });
    }

    // Adds the lesion's pixels inside the mark's quadrilateral; false without any.
    DSNET_DEVICE bool keep_quadrilateral(Word* inner) {
        const bool hull = holds_pixels();
        return block_.any([&](int t) {
            bool kept = false;
            for (int i = t; i < rows_ * stride_; i += Block::kThreads) {
                const int y = i / stride_, w = i % stride_;
                const Word core = chosen(memory_.bits(0)[i], w,
                                         [&](int x) { return in_quadrilateral(y, x, hull); });
                inner[i] |= core;
                kept |= core != 0;
            }
            return kept;
        });
    }

    DSNET_DEVICE void keep_most_certain(Word* inner) {
        const float best = edge_device::value_of(~least_word(0, rows_, [&](int i, int y, int w) {
            std::int32_t least = kNoKey;
            chosen(memory_.bits(0)[i], w, [&](int x) {
                const std::int32_t key = ~edge_device::key_of(odds_at(y, x));
                least = key < least ? key : least;
                return false;
            });
            return least;
        }));
        each_word(0, rows_, [&](int i, int y, int w) {
            inner[i] |= chosen(memory_.bits(0)[i], w, [&](int x) { return odds_at(y, x) >= best; });
        });
    }

    const Word* unknown_ = nullptr;  // after `split`
};

}  // namespace dsnet::cut_device
