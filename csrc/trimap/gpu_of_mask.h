// A block of threads makes strategy 1's trimap of one image: `trimap_from_mask`, part by part.
#pragma once

#include "masks/bits.h"
#include "masks/gpu_block.h"
#include "trimap/gpu_prior.h"
#include "trimap/numbers.h"

namespace dsnet::morphology_device {

// What threads tell each other.
struct TrimapScratch {
    double partial[kThreads];
    double largest[kThreads];  // squared distance inside each of the first parts
    double total;
};

// Planes of an image's words.
struct TrimapPlanes {
    Word *inner, *outer;  // the result
    Word* rest;           // of the mask, parts yet to come
    Word *part, *next;
};

DSNET_HOST_DEVICE std::size_t trimap_bytes(int rows, int cols) {
    const std::size_t plane = sizeof(Word) * rows * std::size_t(words_of(cols));
    return BitImage::bytes(rows, cols) + 5 * plane + sizeof(TrimapScratch);
}

template <class Block>
class TrimapOfMask {
  public:
    DSNET_DEVICE TrimapOfMask(Block& block, const cuda::MorphologyBatch& batch, std::int64_t index,
                              void* memory)
        : block_(block),
          batch_(batch),
          index_(index),
          image_(memory, batch.rows, batch.cols),
          scratch_(*reinterpret_cast<TrimapScratch*>(static_cast<char*>(memory) +
                                                     BitImage::bytes(batch.rows, batch.cols))),
          radii_(radii_of(batch, index, true, Operation::kSplit)),
          words_(image_.rows * image_.stride) {
        auto* const planes = reinterpret_cast<Word*>(&scratch_ + 1);
        planes_ = {planes, planes + words_, planes + 2 * words_, planes + 3 * words_,
                   planes + 4 * words_};
    }

    DSNET_DEVICE void run() {
        const std::int64_t size = batch_.rows * std::int64_t(batch_.cols);
        std::uint8_t* const out = batch_.out + index_ * size;
        block_.each([&](int t) {
            if (t == 0) batch_.statuses[index_] = radii_.status;
        });
        if (radii_.status != cuda::kMorphologyDone) {
            clear_rows(block_, out, 0, size);
            clear_priors(size);
            return;
        }
        load_bits(block_, batch_, index_, image_, 0, image_.rows);
        block_.sync();
        each_word([&](int i) { planes_.inner[i] = planes_.outer[i] = 0; });
        const bool default_erosion = radii_.erosion != radii_.erosion;
        const bool default_dilation = radii_.dilation != radii_.dilation;
        const double widest = default_dilation ? widest_dilation() : 0.0;
        restart();
        for (int number = 0; next_part(); ++number) {
            double largest = -1.0, margin = 0.0;
            if (default_erosion || default_dilation) {
                // Where `widest` was asked for, the first parts have been measured.
                largest = default_dilation && number < kThreads ? scratch_.largest[number]
                                                                : largest_squared();
                margin = margin_of(largest);
            }
            const double dilation = margin < widest ? margin : widest;
            add_part(default_erosion ? margin : radii_.erosion,
                     default_dilation ? dilation : radii_.dilation, largest);
        }
        const Band band = {planes_.inner, planes_.outer, 0, image_.rows};
        write_band(block_, out, image_.cols, band, {kForeground, kUnknown});
        if (batch_.priors == nullptr) return;
        const auto* const mask = static_cast<const std::uint8_t*>(batch_.masks) + index_ * size;
        write_mask_prior(block_,
                         {mask, batch_.rows, batch_.cols, radii_.row_spacing, radii_.col_spacing},
                         out, batch_.priors + index_ * size);
    }

  private:
    DSNET_DEVICE void clear_priors(std::int64_t size) {
        if (batch_.priors == nullptr) return;
        block_.each([&](int t) {
            for (std::int64_t i = t; i < size; i += Block::kThreads)
                batch_.priors[index_ * size + i] = 0.0f;
        });
        block_.sync();
    }

    template <class Body>
    DSNET_DEVICE void each_word(Body body) {
        block_.each([&](int t) {
            for (int i = t; i < words_; i += Block::kThreads) body(i);
        });
        block_.sync();
    }

    // Whether predicate(i) holds for a word; all are asked.
    template <class Predicate>
    DSNET_DEVICE bool any_word(Predicate predicate) {
        return block_.any([&](int t) {
            bool any = false;
            for (int i = t; i < words_; i += Block::kThreads) any |= bool(predicate(i));
            return any;
        });
    }

    DSNET_DEVICE BitRows part(bool inverted) const {
        return {planes_.part, image_.rows, image_.cols, image_.stride, inverted};
    }

    DSNET_DEVICE void restart() {
        each_word([&](int i) { planes_.rest[i] = image_.bits[i]; });
    }

    // The 8-connected part of the first pixel that is left; false without one.
    DSNET_DEVICE bool next_part() {
        const int first = block_.least([&](int t) {
            int found = words_;
            for (int i = t; i < words_; i += Block::kThreads)
                if (planes_.rest[i] != 0) found = lesser(found, i);
            return found;
        });
        if (first == words_) return false;
        each_word([&](int i) {
            planes_.part[i] = i == first ? planes_.rest[i] & (~planes_.rest[i] + 1) : 0;
        });
        bool grew = true;
        while (grew) {
            grew = any_word([&](int i) {
                planes_.next[i] = flooded(i);
                return planes_.next[i] != planes_.part[i];
            });
            Word* const swapped = planes_.part;
            planes_.part = planes_.next;
            planes_.next = swapped;
        }
        each_word([&](int i) { planes_.rest[i] &= ~planes_.part[i]; });
        return true;
    }

    // A word of the part after one more step: to the neighbours, and along its own runs.
    DSNET_DEVICE Word flooded(int i) const {
        const int y = i / image_.stride, w = i - y * image_.stride;
        const Word inside = image_.bits[i];
        if (inside == 0) return 0;
        const BitRows rows = part(false);
        Word all = 0;
        for (int row = greater(y - 1, 0); row <= lesser(y + 1, image_.rows - 1); ++row)
            all |= spread(rows, row, w, 1);
        return filled_runs(all & inside, inside);
    }

    // body(y, x) for the set pixels of a word.
    template <class Body>
    DSNET_DEVICE void each_pixel(int i, Word word, Body body) const {
        const int y = i / image_.stride, first = (i - y * image_.stride) * kWordBits;
        for (; word != 0; word &= word - 1) body(y, first + lowest_bit(word));
    }

    DSNET_DEVICE double inside_squared(int y, int x) const {
        return nearest_squared(part(true), y, x, radii_.row_spacing, radii_.col_spacing, true,
                               HUGE_VAL);
    }

    // Largest squared distance of the part's pixels to what lies outside the part or the image.
    DSNET_DEVICE double largest_squared() {
        block_.each([&](int t) {
            double largest = 0.0;
            for (int i = t; i < words_; i += Block::kThreads)
                each_pixel(i, planes_.part[i], [&](int y, int x) {
                    const double found = inside_squared(y, x);
                    largest = found > largest ? found : largest;
                });
            scratch_.partial[t] = largest;
        });
        block_.sync();
        double largest = 0.0;
        for (int t = 0; t < Block::kThreads; ++t)
            largest = scratch_.partial[t] > largest ? scratch_.partial[t] : largest;
        block_.sync();
        return largest;
    }

    DSNET_DEVICE double margin_of(double largest) const {
        const double across = 2.0 * sqrt(largest) - (radii_.row_spacing + radii_.col_spacing) / 2;
        const double share = kMarginShare * (across > 0 ? across : 0.0);
        const double finest = radii_.row_spacing < radii_.col_spacing ? radii_.row_spacing
                                                                      : radii_.col_spacing;
        const double least = kLeastMargin * finest;
        return share > least ? share : least;
    }

    // The background's mean distance to the lesion, or infinity where no part's margin reaches it.
    DSNET_DEVICE double widest_dilation() {
        double most = 0.0;
        restart();
        for (int number = 0; next_part(); ++number) {
            const double largest = largest_squared();
            if (number < kThreads)
                block_.each([&](int t) {
                    if (t == 0) scratch_.largest[number] = largest;
                });
            const double margin = margin_of(largest);
            most = margin > most ? margin : most;
        }
        block_.sync();
        const double size = double(image_.rows) * image_.cols;
        const double background = size - count([&](int i) { return image_.bits[i]; });
        if (background == 0) return HUGE_VAL;
        // Half the background farther away than twice the margin: so is the mean than the margin.
        fill_chords(block_, image_.outward, 2.0 * most, radii_, image_);
        block_.sync();
        const double far = size - count([&](int i) {
                               return dilated(image_.lesion(), i / image_.stride, i % image_.stride,
                                              image_.outward);
                           });
        if (2 * far > background) return HUGE_VAL;
        return sum_of_distances() / background;
    }

    template <class WordAt>
    DSNET_DEVICE double count(WordAt word_at) {
        return block_.sum([&](int t) {
            int found = 0;
            for (int i = t; i < words_; i += Block::kThreads) found += count_bits(word_at(i));
            return found;
        });
    }

    // Of the background's pixels to the lesion, added up in the image's order, by one thread.
    DSNET_DEVICE double sum_of_distances() {
        const std::int64_t size = image_.rows * std::int64_t(image_.cols);
        block_.each([&](int t) {
            if (t == 0) scratch_.total = 0.0;
        });
        for (std::int64_t begin = 0; begin < size; begin += Block::kThreads) {
            block_.each([&](int t) {
                double distance = 0.0;
                if (begin + t < size) {
                    const int y = int((begin + t) / image_.cols);
                    const int x = int(begin + t - std::int64_t(y) * image_.cols);
                    // 0 of a pixel of the lesion.
                    distance = sqrt(nearest_squared(image_.lesion(), y, x, radii_.row_spacing,
                                                    radii_.col_spacing, false, HUGE_VAL));
                }
                scratch_.partial[t] = distance;
            });
            block_.sync();
            block_.each([&](int t) {
                if (t != 0) return;
                double total = scratch_.total;
                for (int k = 0; k < Block::kThreads; ++k) total += scratch_.partial[k];
                scratch_.total = total;
            });
            block_.sync();
        }
        return scratch_.total;
    }

    // Splits the part and joins it with the others. One that erodes to nothing keeps its core, or
    // else its innermost pixels. `largest` below 0: not measured yet.
    DSNET_DEVICE void add_part(double erosion, double dilation, double largest) {
        fill_chords(block_, image_.inward, erosion, radii_, image_);
        fill_chords(block_, image_.outward, dilation, radii_, image_);
        block_.sync();
        const bool left = any_word([&](int i) {
            const int y = i / image_.stride, w = i - y * image_.stride;
            const Word own = planes_.part[i];
            const Word inner = own == 0 ? 0 : own & ~dilated(part(true), y, w, image_.inward);
            planes_.inner[i] |= inner;
            planes_.outer[i] |= dilated(part(false), y, w, image_.outward);
            return inner != 0;
        });
        if (left) return;
        if (batch_.cores != nullptr) {
            const bool kept = any_word([&](int i) {
                const int y = i / image_.stride, w = i - y * image_.stride;
                const std::uint8_t* const row =
                    batch_.cores + (index_ * image_.rows + y) * std::int64_t(image_.cols);
                const Word core =
                    packed_word(row, image_.cols, w, in_sixteens(batch_.cores, image_.cols));
                planes_.inner[i] |= planes_.part[i] & core;
                return (planes_.part[i] & core) != 0;
            });
            if (kept) return;
        }
        if (largest < 0) largest = largest_squared();
        const double enough = largest * kAsFar;
        each_word([&](int i) {
            Word innermost = 0;
            each_pixel(i, planes_.part[i], [&](int y, int x) {
                if (inside_squared(y, x) >= enough) innermost |= Word(1) << (x % kWordBits);
            });
            planes_.inner[i] |= innermost;
        });
    }

    Block& block_;
    const cuda::MorphologyBatch& batch_;
    const std::int64_t index_;
    const BitImage image_;
    TrimapScratch& scratch_;
    const Radii radii_;
    const int words_;
    TrimapPlanes planes_;
};

template <class Block>
DSNET_DEVICE void trimap_image(Block& block, const cuda::MorphologyBatch& batch, std::int64_t index,
                               void* memory) {
    TrimapOfMask<Block>(block, batch, index, memory).run();
}

}  // namespace dsnet::morphology_device
