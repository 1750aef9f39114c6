// What a cut and its trimap share: an image's memory, its bits, and what is known of its mark.
#pragma once

#include "cut/gpu.h"
#include "cut/numbers.h"
#include "edge/gpu_block.h"
#include "masks/gpu_bits.h"

namespace dsnet::cut_device {

using edge_device::FrameScratch, edge_device::kNoKey;
using morphology_device::BitRows, morphology_device::Word;
using morphology_device::kWordBits, morphology_device::words_of;

constexpr int kThreads = 128;
constexpr int kBitPlanes = 6;

// An image's memory.
struct CutMemory {
    Word* first_bits;
    std::int64_t words;
    int* chords;
    float* log_odds;  // of the window's pixels

    DSNET_HOST_DEVICE Word* bits(int plane) const { return first_bits + plane * words; }
    DSNET_HOST_DEVICE static std::size_t bytes(int rows, int cols) {
        const std::size_t pixels = rows * std::size_t(cols);
        const std::size_t all = kBitPlanes * sizeof(Word) * rows * std::size_t(words_of(cols)) +
                                sizeof(int) * rows + sizeof(float) * pixels;
        return morphology_device::aligned(all);
    }
    DSNET_HOST_DEVICE CutMemory(void* memory, int rows, int cols) {
        first_bits = static_cast<Word*>(memory);
        words = rows * std::int64_t(words_of(cols));
        chords = reinterpret_cast<int*>(bits(kBitPlanes));
        log_odds = reinterpret_cast<float*>(chords + rows);
    }
};

template <class Block>
class CutImage {
  public:
    DSNET_DEVICE CutImage(Block& block, const cuda::CutBatch& batch, std::int64_t index,
                          void* memory, FrameScratch& frame)
        : block_(block),
          batch_(batch),
          plan_(batch.plans[index]),
          memory_(memory, batch.rows, batch.cols),
          frame_(frame),
          index_(index),
          rows_(batch.rows),
          cols_(batch.cols),
          stride_(words_of(batch.cols)) {}

  protected:
    // body(i, y, w) for the words of some rows.
    template <class Body>
    DSNET_DEVICE void each_word(int first, int last, Body body) {
        block_.each([&](int t) {
            for (int i = first * stride_ + t; i < last * stride_; i += Block::kThreads)
                body(i, i / stride_, i % stride_);
        });
        block_.sync();
    }

    // Least of what a body returns, over the words of some rows; kNoKey without any.
    template <class Body>
    DSNET_DEVICE int least_word(int first, int last, Body body) {
        return block_.least([&](int t) {
            int least = kNoKey;
            for (int i = first * stride_ + t; i < last * stride_; i += Block::kThreads) {
                const int found = body(i, i / stride_, i % stride_);
                least = found < least ? found : least;
            }
            return least;
        });
    }

    DSNET_HOST_DEVICE Word valid(int w) const {
        return morphology_device::low_bits(cols_ - w * kWordBits);
    }

    DSNET_HOST_DEVICE BitRows rows_of(const Word* bits, int first, int last,
                                      bool inverted = false) const {
        return {bits + first * std::int64_t(stride_), last - first, cols_, stride_, inverted};
    }

    // Of any pixel of the image. Where the cut fell back, nothing is known but that the border may
    // lie on the ellipse's rim.
    DSNET_HOST_DEVICE float odds_at(int y, int x) const {
        if (fell_back_)
            return in_ellipse(y, x, kInnerEllipse)   ? kCertain
                   : in_ellipse(y, x, kOuterEllipse) ? 0.0f
                                                     : -kCertain;
        const int row = y - plan_.top, column = x - plan_.left;
        if (row < 0 || row >= plan_.edge.rows || column < 0 || column >= plan_.edge.cols)
            return -kCertain;
        return memory_.log_odds[row * plan_.edge.cols + column];
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

    DSNET_HOST_DEVICE bool in_ellipse(int y, int x, double scale) const {
        const double offset_x = double(x) - plan_.centre[0], offset_y = double(y) - plan_.centre[1];
        const double u =
            (offset_x * plan_.along[0] + offset_y * plan_.along[1]) / (plan_.half_along * scale);
        const double v =
            (offset_x * plan_.across[0] + offset_y * plan_.across[1]) / (plan_.half_across * scale);
        return u * u + v * v <= 1.0;
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
    DSNET_DEVICE bool holds_pixels() {
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

    // Grows `part`, all of whose pixels lie in `within`, to the 4-connected parts that hold them.
    DSNET_DEVICE void flood(Word*& part, Word*& next, const Word* within, int first, int last,
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
        return morphology_device::filled_runs(all & inside, inside);
    }

    Block& block_;
    const cuda::CutBatch& batch_;
    const CutPlan& plan_;
    const CutMemory memory_;
    FrameScratch& frame_;
    const std::int64_t index_;
    const int rows_, cols_, stride_;
    bool fell_back_ = false;
};

}  // namespace dsnet::cut_device
