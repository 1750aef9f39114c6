// A block of threads cuts the lesion under a RECIST mark and makes its trimap: `cut_recist` and
// `trimap_from_cut`, to the bit.
#pragma once

#include "cut/gpu_trimap.h"
#include "cut/numbers.h"
#include "trimap/numbers.h"

namespace dsnet::cut_device {

template <class Block>
class CutOfMark : public CutTrimap<Block> {
  public:
    using CutTrimap<Block>::CutTrimap;

    DSNET_DEVICE void run() {
        CutResult result = {0.0, 0.0, kCutUnwanted, 0};
        if (plan_.edge.rows > 0) {
            result = cut();
            fell_back_ = result.fallback != int(CutFallback::kNone);
            if (fell_back_) draw_ellipse();
            split();
        } else {
            for (int k = 0; k < 3; ++k)
                each_word(0, rows_, [&](int i, int, int) { memory_.bits(k)[i] = 0; });
        }
        block_.each([&](int t) {
            if (t == 0) batch_.results[index_] = result;
        });
        write();
    }

  private:
    using CutTrimap<Block>::batch_;
    using CutTrimap<Block>::block_;
    using CutTrimap<Block>::chosen;
    using CutTrimap<Block>::cols_;
    using CutTrimap<Block>::each_word;
    using CutTrimap<Block>::fell_back_;
    using CutTrimap<Block>::flood;
    using CutTrimap<Block>::frame_;
    using CutTrimap<Block>::in_ellipse;
    using CutTrimap<Block>::in_quadrilateral;
    using CutTrimap<Block>::holds_pixels;
    using CutTrimap<Block>::index_;
    using CutTrimap<Block>::least_word;
    using CutTrimap<Block>::memory_;
    using CutTrimap<Block>::odds_at;
    using CutTrimap<Block>::plan_;
    using CutTrimap<Block>::rows_;
    using CutTrimap<Block>::rows_of;
    using CutTrimap<Block>::stride_;
    using CutTrimap<Block>::valid;
    using CutTrimap<Block>::split;
    using CutTrimap<Block>::unknown_;

    DSNET_DEVICE int count(const Word* bits, const Word* within) {
        return block_.sum([&](int t) {
            int found = 0;
            for (int i = plan_.top * stride_ + t; i < window_end() * stride_; i += Block::kThreads)
                found += morphology_device::count_bits(bits[i] & within[i]);
            return found;
        });
    }

    DSNET_HOST_DEVICE int window_end() const { return plan_.top + plan_.edge.rows; }

    // Columns of the window.
    DSNET_HOST_DEVICE Word window_word(int w) const {
        return morphology_device::low_bits(plan_.left + plan_.edge.cols - w * kWordBits) &
               ~morphology_device::low_bits(plan_.left - w * kWordBits);
    }

    DSNET_HOST_DEVICE const Word* seeds() const {
        return batch_.seeds + index_ * rows_ * std::int64_t(stride_);
    }

    // Leaves the lesion in plane 0, unless it falls back.
    DSNET_DEVICE CutResult cut() {
        const std::int64_t pixels = rows_ * std::int64_t(cols_);
        edge_device::Evidence<Block> evidence(block_, plan_.edge, *batch_.network,
                                              {batch_.images + index_ * pixels, rows_, cols_},
                                              frame_);
        const EdgeOutcome outcome = evidence.run(plan_.top, plan_.left, memory_.log_odds);
        const EdgeThreshold threshold = outcome.threshold;
        const auto told = [&](CutFallback fallback, double value) {
            return CutResult{value, threshold.expected_dice, int(fallback), 0};
        };
        if (fabs(outcome.contrast) < kLeastContrast)
            return told(CutFallback::kContrast, fabs(outcome.contrast));
        if (!plan_.seeded) return told(CutFallback::kNoSeeds, 0.0);
        Word* const lesion = memory_.bits(0);
        each_word(0, rows_, [&](int i, int y, int w) {
            const int row = y - plan_.top;
            if (row < 0 || row >= plan_.edge.rows) {
                lesion[i] = 0;
                return;
            }
            const float* const odds = memory_.log_odds + row * plan_.edge.cols;
            lesion[i] = seeds()[i] | chosen(window_word(w), w, [&](int x) {
                            return odds[x - plan_.left] >= threshold.log_odds;
                        });
        });
        keep_seeded_part();
        fill_holes();
        const double share = double(count(memory_.bits(0), memory_.bits(0))) /
                             double(plan_.area > 1 ? plan_.area : 1);
        if (!(share >= kLeastArea && share <= kMostArea)) return told(CutFallback::kArea, share);
        return told(CutFallback::kNone, 0.0);
    }

    // Leaves the axes' ellipse in plane 0, or else their quadrilateral.
    DSNET_DEVICE void draw_ellipse() {
        Word* const lesion = memory_.bits(0);
        const bool any = block_.any([&](int t) {
            bool found = false;
            for (int i = t; i < rows_ * stride_; i += Block::kThreads) {
                const int y = i / stride_, w = i % stride_;
                lesion[i] = chosen(valid(w), w, [&](int x) { return in_ellipse(y, x, 1.0); });
                found |= lesion[i] != 0;
            }
            return found;
        });
        if (any) return;
        const bool hull = holds_pixels();
        each_word(0, rows_, [&](int i, int y, int w) {
            lesion[i] = chosen(valid(w), w, [&](int x) { return in_quadrilateral(y, x, hull); });
        });
    }

    // Of the lesion's 4-connected parts the one with the most seeds, the first of several.
    DSNET_DEVICE void keep_seeded_part() {
        const int first = plan_.top, last = window_end();
        Word *lesion = memory_.bits(0), *rest = memory_.bits(1), *part = memory_.bits(2),
             *next = memory_.bits(3), *best = memory_.bits(4);
        each_word(first, last, [&](int i, int, int) {
            rest[i] = lesion[i] & seeds()[i];
            best[i] = 0;
        });
        int most = 0, earliest = 0;
        for (;;) {
            const int begin =
                least_word(first, last, [&](int i, int, int) { return rest[i] != 0 ? i : kNoKey; });
            if (begin == kNoKey) break;
            each_word(first, last, [&](int i, int, int) {
                part[i] = i == begin ? rest[i] & (~rest[i] + 1) : 0;
            });
            flood(part, next, lesion, first, last, false);
            const int votes = count(part, seeds());
            // In reading order, as words are.
            const int start = least_word(first, last, [&](int i, int, int) {
                return part[i] != 0 ? i * kWordBits + morphology_device::lowest_bit(part[i])
                                    : kNoKey;
            });
            each_word(first, last, [&](int i, int, int) { rest[i] &= ~part[i]; });
            if (votes < most || (votes == most && start > earliest)) continue;
            most = votes;
            earliest = start;
            Word* const before = best;
            best = part;
            part = before;
        }
        each_word(first, last, [&](int i, int, int) { lesion[i] = best[i]; });
    }

    // Background that the window's border does not reach becomes lesion.
    DSNET_DEVICE void fill_holes() {
        const int first = plan_.top, last = window_end();
        Word *lesion = memory_.bits(0), *outside = memory_.bits(1), *next = memory_.bits(2);
        const BitRows background = rows_of(lesion, 0, rows_, true);
        each_word(first, last, [&](int i, int y, int w) {
            Word border = y == first || y == last - 1 ? ~Word(0) : 0;
            if (w == 0) border |= 1;
            if (w == stride_ - 1) border |= Word(1) << (cols_ - 1 - w * kWordBits);
            outside[i] = background.at(y, w) & border;
        });
        flood(outside, next, lesion, first, last, true);
        each_word(first, last,
                  [&](int i, int, int w) { lesion[i] = ~outside[i] & background.valid(w); });
    }

    DSNET_DEVICE void write() {
        const std::int64_t pixels = rows_ * std::int64_t(cols_), begin = index_ * pixels;
        const Word *lesion = memory_.bits(0), *inner = memory_.bits(1);
        const Word* const unknown = unknown_ == nullptr ? memory_.bits(2) : unknown_;
        block_.each([&](int t) {
            for (std::int64_t i = t; i < pixels; i += Block::kThreads) {
                const int y = int(i / cols_), x = int(i - y * std::int64_t(cols_));
                const int word = y * stride_ + x / kWordBits, bit = x % kWordBits;
                const bool sure = inner[word] >> bit & 1;
                const bool open = !sure && (unknown[word] >> bit & 1);
                batch_.masks[begin + i] = std::uint8_t(lesion[word] >> bit & 1);
                batch_.trimaps[begin + i] = sure ? kForeground : open ? kUnknown : kBackground;
                batch_.priors[begin + i] = open ? float(1.0 / (1.0 + exp(-double(odds_at(y, x)))))
                                                : 0.0f;
            }
        });
        block_.sync();
    }
};

template <class Block>
DSNET_DEVICE void cut_image(Block& block, const cuda::CutBatch& batch, std::int64_t index,
                            void* memory, FrameScratch& frame) {
    CutOfMark<Block>(block, batch, index, memory, frame).run();
}

}  // namespace dsnet::cut_device
