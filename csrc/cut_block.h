// A block of threads cuts the lesion under a RECIST mark and makes its trimap: `cut_recist` and
// `trimap_from_cut`, to the bit. Written against a Block of host_block.h.
#pragma once

#include "border_cut_block.h"
#include "cut_cuda.h"
#include "edge_block.h"
#include "morphology_device.h"

namespace dsnet::cut_device {

using morphology_device::BitRows;
using morphology_device::Word;
using morphology_device::kWordBits;
using morphology_device::words_of;

// As in grabcut.h and trimap.h.
constexpr double kLeastArea = 0.1, kMostArea = 8.0;
constexpr float kFaintLogOdds = 1.5f;
constexpr double kFaintShare = 0.25, kFaintLeast = 2.0, kLeastMargin = 1.0;

constexpr int kThreads = 128;
// Of a graph in shared memory; few images leave more pixels undecided.
constexpr int kSmallNodes = 512;
constexpr int kBitPlanes = 6;

// What a block shares besides an image's own memory.
struct CutScratch {
    FoldedNetwork network;
    std::int32_t first_of_thread[kThreads + 1];
    alignas(8) unsigned char graph[kSmallNodes * (5 * 4 + 2 * kDirections * 2)];
};

// An image's memory. What is no longer needed makes room: the search for quantiles and the smoothed
// planes for the graph, the relative grey values for the nodes' numbers, the filters' scratch for
// the states.
struct CutMemory {
    Word* first_bits;
    std::int64_t words;
    int* chords;
    float *log_odds, *relative, *scratch;
    char* large;

    DSNET_HOST_DEVICE Word* bits(int plane) const { return first_bits + plane * words; }
    DSNET_HOST_DEVICE static std::size_t bytes(int rows, int cols) {
        const std::size_t pixels = rows * std::size_t(cols);
        const std::size_t all = kBitPlanes * sizeof(Word) * rows * std::size_t(words_of(cols)) +
                                sizeof(int) * rows + 3 * sizeof(float) * pixels +
                                CutGraph::bytes(int(pixels));
        return (all + 15) / 16 * 16;
    }
    DSNET_HOST_DEVICE CutMemory(void* memory, int rows, int cols) {
        first_bits = static_cast<Word*>(memory);
        words = rows * std::int64_t(words_of(cols));
        const std::int64_t pixels = rows * std::int64_t(cols);
        chords = reinterpret_cast<int*>(bits(kBitPlanes));
        log_odds = reinterpret_cast<float*>(chords + rows);
        relative = log_odds + pixels;
        scratch = relative + pixels;
        large = reinterpret_cast<char*>(scratch + pixels);
    }
};

template <class Block>
class CutOfMark {
  public:
    DSNET_BLOCK CutOfMark(Block& block, const cuda::CutBatch& batch, std::int64_t index,
                          void* memory, CutScratch& scratch)
        : block_(block),
          batch_(batch),
          plan_(batch.plans[index]),
          memory_(memory, batch.rows, batch.cols),
          scratch_(scratch),
          index_(index),
          rows_(batch.rows),
          cols_(batch.cols),
          stride_(words_of(batch.cols)) {}

    DSNET_BLOCK void run() {
        CutResult result = {0.0, kCutUnwanted, 0};
        if (plan_.rows > 0) {
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
    // body(i, y, w) for the words of some rows.
    template <class Body>
    DSNET_BLOCK void each_word(int first, int last, Body body) {
        block_.each([&](int t) {
            for (int i = first * stride_ + t; i < last * stride_; i += Block::kThreads)
                body(i, i / stride_, i % stride_);
        });
        block_.sync();
    }

    // Least of what a body returns, over the words of some rows; kNoKey without any.
    template <class Body>
    DSNET_BLOCK int least_word(int first, int last, Body body) {
        return block_.least([&](int t) {
            int least = kNoKey;
            for (int i = first * stride_ + t; i < last * stride_; i += Block::kThreads) {
                const int found = body(i, i / stride_, i % stride_);
                least = found < least ? found : least;
            }
            return least;
        });
    }

    DSNET_BLOCK int count(const Word* bits, const Word* within) {
        return block_.sum([&](int t) {
            int found = 0;
            for (int i = plan_.top * stride_ + t; i < window_end() * stride_;
                 i += Block::kThreads)
                found += morphology_device::count_bits(bits[i] & within[i]);
            return found;
        });
    }

    DSNET_HOST_DEVICE int window_end() const { return plan_.top + plan_.rows; }

    DSNET_HOST_DEVICE Word valid(int w) const {
        return morphology_device::low_bits(cols_ - w * kWordBits);
    }

    // Columns of the window.
    DSNET_HOST_DEVICE Word window_word(int w) const {
        return morphology_device::low_bits(plan_.left + plan_.cols - w * kWordBits) &
               ~morphology_device::low_bits(plan_.left - w * kWordBits);
    }

    DSNET_HOST_DEVICE const Word* seeds() const {
        return batch_.seeds + index_ * rows_ * std::int64_t(stride_);
    }

    DSNET_HOST_DEVICE BitRows rows_of(const Word* bits, int first, int last,
                                      bool inverted = false) const {
        return {bits + first * std::int64_t(stride_), last - first, cols_, stride_, inverted};
    }

    // Of any pixel of the image. Where the cut fell back, nothing is known but that the border may
    // lie on the ellipse's rim.
    DSNET_HOST_DEVICE float odds_at(int y, int x) const {
        if (fell_back_)
            return in_ellipse(y, x, 0.75) ? kCertain : in_ellipse(y, x, 1.25) ? 0.0f : -kCertain;
        const int row = y - plan_.top, column = x - plan_.left;
        if (row < 0 || row >= plan_.rows || column < 0 || column >= plan_.cols) return -kCertain;
        return memory_.log_odds[row * plan_.cols + column];
    }

    // A word of the pixels for which is_set(x) holds, of those that `asked` sets.
    template <class IsSet>
    DSNET_HOST_DEVICE Word chosen(Word asked, int w, IsSet is_set) const {
        Word found = 0;
        for (; asked != 0; asked &= asked - 1) {
            const int bit = morphology_device::lowest_bit(asked);
            if (is_set(w * kWordBits + bit)) found |= Word(1) << bit;
        }
        return found;
    }

    // Leaves the lesion in plane 0, unless it falls back.
    DSNET_BLOCK CutResult cut() {
        const std::int64_t pixels = rows_ * std::int64_t(cols_);
        const GreyWindow grey = {
            batch_.images + index_ * pixels + plan_.top * std::int64_t(cols_) + plan_.left, cols_};
        const EdgePlanes planes = {memory_.relative, memory_.scratch, memory_.log_odds,
                                   reinterpret_cast<float*>(memory_.large),
                                   reinterpret_cast<std::int32_t*>(memory_.large)};
        Evidence<Block> evidence(block_, plan_, batch_.constants, grey, planes, scratch_.network);
        const double contrast = evidence.run();
        if (contrast < kLeastContrast) return {contrast, int(CutFallback::kContrast), 0};
        if (!plan_.seeded) return {0.0, int(CutFallback::kNoSeeds), 0};
        auto* const state = reinterpret_cast<std::uint8_t*>(memory_.scratch);
        BorderCutBlock<Block> border(
            block_, plan_.rows, plan_.cols,
            {memory_.log_odds, state, state + pixels,
             reinterpret_cast<std::int32_t*>(memory_.relative)},
            rows_of(seeds(), plan_.top, window_end()), plan_.left, batch_.constants.side,
            batch_.constants.across);
        border.run(scratch_.graph, kSmallNodes, memory_.large, scratch_.first_of_thread);
        Word* const lesion = memory_.bits(0);
        const std::uint8_t* const found = border.state();
        each_word(0, rows_, [&](int i, int y, int w) {
            const int row = y - plan_.top;
            lesion[i] = row < 0 || row >= plan_.rows ? 0 : chosen(window_word(w), w, [&](int x) {
                return found[row * plan_.cols + x - plan_.left] == kLesion;
            });
        });
        keep_seeded_part();
        fill_holes();
        const double share = double(count(memory_.bits(0), memory_.bits(0))) /
                             double(plan_.area > 1 ? plan_.area : 1);
        if (!(share >= kLeastArea && share <= kMostArea))
            return {share, int(CutFallback::kArea), 0};
        return {0.0, int(CutFallback::kNone), 0};
    }

    DSNET_HOST_DEVICE bool in_ellipse(int y, int x, double scale) const {
        const double offset_x = double(x) - plan_.centre[0], offset_y = double(y) - plan_.centre[1];
        const double u = (offset_x * plan_.along[0] + offset_y * plan_.along[1]) /
                         (plan_.half_along * scale);
        const double v = (offset_x * plan_.across[0] + offset_y * plan_.across[1]) /
                         (plan_.half_across * scale);
        return u * u + v * v <= 1.0;
    }

    // Leaves the axes' ellipse in plane 0, or else their quadrilateral.
    DSNET_BLOCK void draw_ellipse() {
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

    // Grows `part`, all of whose pixels lie in `within`, to the 4-connected parts that hold them.
    DSNET_BLOCK void flood(Word*& part, Word*& next, const Word* within, int first, int last,
                           bool inverted) {
        bool grew = true;
        while (grew) {
            grew = block_.any([&](int t) {
                bool changed = false;
                for (int i = first * stride_ + t; i < last * stride_; i += Block::kThreads) {
                    next[i] = flooded(part, within, i, first, last, inverted);
                    changed |= next[i] != part[i];
                }
                return changed;
            });
            Word* const before = part;
            part = next;
            next = before;
        }
    }

    // A word after one more step: to the neighbours, and along its own runs.
    DSNET_HOST_DEVICE Word flooded(const Word* part, const Word* within, int i, int first, int last,
                                   bool inverted) const {
        const int y = i / stride_, w = i % stride_;
        const Word inside = rows_of(within, 0, rows_, inverted).at(y, w);
        if (inside == 0) return 0;
        Word all = part[i];
        if (y > first) all |= part[i - stride_];
        if (y + 1 < last) all |= part[i + stride_];
        if (w > 0) all |= part[i - 1] >> (kWordBits - 1);
        if (w + 1 < stride_) all |= part[i + 1] << (kWordBits - 1);
        all &= inside;
        Word up = inside, down = inside;
        for (int step = 1; step < kWordBits; step *= 2) {
            all |= (up & (all << step)) | (down & (all >> step));
            up &= up << step;
            down &= down >> step;
        }
        return all;
    }

    // Of the lesion's 4-connected parts the one with the most seeds, the first of several.
    DSNET_BLOCK void keep_seeded_part() {
        const int first = plan_.top, last = window_end();
        Word *lesion = memory_.bits(0), *rest = memory_.bits(1), *part = memory_.bits(2),
             *next = memory_.bits(3), *best = memory_.bits(4);
        each_word(first, last, [&](int i, int, int) {
            rest[i] = lesion[i] & seeds()[i];
            best[i] = 0;
        });
        int most = 0, earliest = 0;
        for (;;) {
            const int begin = least_word(
                first, last, [&](int i, int, int) { return rest[i] != 0 ? i : kNoKey; });
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
    DSNET_BLOCK void fill_holes() {
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
        each_word(first, last, [&](int i, int, int w) {
            lesion[i] = ~outside[i] & background.valid(w);
        });
    }

    // Leaves the trimap's sure lesion in plane 1, what is unknown in plane 2.
    DSNET_BLOCK void split() {
        const Word* const lesion = memory_.bits(0);
        const int top =
            least_word(0, rows_, [&](int i, int y, int) { return lesion[i] != 0 ? y : kNoKey; });
        if (top == kNoKey) {
            each_word(0, rows_, [&](int i, int, int) {
                memory_.bits(1)[i] = memory_.bits(2)[i] = 0;
            });
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
    DSNET_BLOCK int largest_squared(int top, int bottom) {
        const BitRows outside = rows_of(memory_.bits(0), 0, rows_, true);
        return -least_word(top, bottom, [&](int i, int y, int w) {
            double largest = 0.0;
            for (Word word = memory_.bits(0)[i]; word != 0; word &= word - 1) {
                const int x = w * kWordBits + morphology_device::lowest_bit(word);
                const double found = morphology_device::nearest_squared(outside, y, x, 1.0, 1.0,
                                                                        true, HUGE_VAL);
                largest = found > largest ? found : largest;
            }
            return -int(largest);
        });
    }

    DSNET_BLOCK void make_disc(double radius, int rows) {
        block_.each([&](int t) {
            for (int k = t; k < rows; k += Block::kThreads)
                memory_.chords[k] = morphology_device::half_chord(k, radius, 1.0, 1.0, cols_);
        });
        block_.sync();
    }

    // The lesion eroded by the disc, and what lies between that and the lesion dilated by it.
    DSNET_BLOCK void outline(int first, int last, Word* eroded, Word* between) {
        const BitRows lesion = rows_of(memory_.bits(0), first, last);
        const BitRows outside = rows_of(memory_.bits(0), first, last, true);
        each_word(first, last, [&](int i, int y, int w) {
            eroded[i] = lesion.at(y - first, w) &
                        ~morphology_device::dilated(outside, y - first, w, memory_.chords);
            between[i] =
                morphology_device::dilated(lesion, y - first, w, memory_.chords) & ~eroded[i];
        });
    }

    DSNET_HOST_DEVICE bool in_hull(int y, int x) const {
        bool inside = plan_.corners >= 3;
        for (int k = 0; k < plan_.corners; ++k) {
            const double* const start = plan_.hull + 2 * k;
            const double* const end = plan_.hull + 2 * ((k + 1) % plan_.corners);
            inside &= (end[0] - start[0]) * (double(y) - start[1]) -
                          (end[1] - start[1]) * (double(x) - start[0]) >=
                      0;
        }
        return inside;
    }

    // Whether the hull holds the centre of a pixel of the image.
    DSNET_BLOCK bool holds_pixels() {
        return block_.any([&](int t) {
            bool found = false;
            for (int i = t; i < rows_ * stride_; i += Block::kThreads) {
                const int y = i / stride_, w = i % stride_;
                found |= chosen(valid(w), w, [&](int x) { return in_hull(y, x); }) != 0;
            }
            return found;
        });
    }

    // Where the hull holds no pixel, that of the mark's centre stands for it.
    DSNET_HOST_DEVICE bool in_quadrilateral(int y, int x, bool hull) const {
        return hull ? in_hull(y, x)
                    : double(y) == nearbyint(plan_.centre[1]) &&
                          double(x) == nearbyint(plan_.centre[0]);
    }

    // Adds the lesion's pixels inside the mark's quadrilateral; false without any.
    DSNET_BLOCK bool keep_quadrilateral(Word* inner) {
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

    DSNET_BLOCK void keep_most_certain(Word* inner) {
        const float best = value_of(~least_word(0, rows_, [&](int i, int y, int w) {
            std::int32_t least = kNoKey;
            chosen(memory_.bits(0)[i], w, [&](int x) {
                const std::int32_t key = ~key_of(odds_at(y, x));
                least = key < least ? key : least;
                return false;
            });
            return least;
        }));
        each_word(0, rows_, [&](int i, int y, int w) {
            inner[i] |= chosen(memory_.bits(0)[i], w, [&](int x) { return odds_at(y, x) >= best; });
        });
    }

    DSNET_BLOCK void write() {
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
                batch_.trimaps[begin + i] = sure ? 255 : open ? 128 : 0;
                batch_.priors[begin + i] =
                    open ? float(1.0 / (1.0 + exp(-double(odds_at(y, x))))) : 0.0f;
            }
        });
        block_.sync();
    }

    Block& block_;
    const cuda::CutBatch& batch_;
    const CutPlan& plan_;
    const CutMemory memory_;
    CutScratch& scratch_;
    const std::int64_t index_;
    const int rows_, cols_, stride_;
    const Word* unknown_ = nullptr;
    bool fell_back_ = false;
};

template <class Block>
DSNET_BLOCK void cut_image(Block& block, const cuda::CutBatch& batch, std::int64_t index,
                           void* memory, CutScratch& scratch) {
    CutOfMark<Block>(block, batch, index, memory, scratch).run();
}

}  // namespace dsnet::cut_device
