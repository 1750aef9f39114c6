// The linear system of one image's matting, set up by a block of threads or by a cluster of blocks.
// Written against a Block, the Cluster of gpu_threads.cuh: what `each` runs knows its thread's
// number, and nothing is read that another thread wrote since the last `sync`. `reduce` syncs too.
//
// A Store says where the planes and vectors live: gpu_store.h. With several blocks each owns a
// band of rows, and `put` shows the band's first and last row to its neighbours.
#pragma once

#include "matting/gpu_region.h"

namespace dsnet::matting_device {

template <class Block, class Store>
class MattingSystem {
  public:
    // A store and a frame for each block; the frames' problem is set.
    DSNET_DEVICE MattingSystem(Block& block, Store* stores, Frame* frames)
        : block_(block), stores_(stores), frames_(frames) {}

  protected:
    template <class T>
    using Own = typename Block::template Own<T>;
    using Thread = typename Store::Thread;

    DSNET_DEVICE Store& store(int t) { return Block::of_block(stores_, t); }
    DSNET_DEVICE Frame& frame(int t) { return Block::of_block(frames_, t); }
    // What is the same in all blocks.
    DSNET_DEVICE Frame& frame() { return *frames_; }
    DSNET_DEVICE const Problem& problem() { return frames_->problem; }
    DSNET_DEVICE int stride() { return Store::kStride > 0 ? Store::kStride : frames_->band.stride; }
    DSNET_DEVICE static int local(int t) { return Block::local(t); }

    // Writes alpha where it is known, finds the region; returns the pixels by kind.
    DSNET_DEVICE Values<3> take_census(std::int32_t& status) {
        Own<Values<3>> counts;
        Own<Values<5>> extents;
        const int size = problem().rows * problem().cols;
        block_.each([&](int t) {
            const Problem problem = this->problem();
            int unknowns = 0, foreground = 0, background = 0, bad = 0;
            int top = problem.rows, bottom = -1, left = problem.cols, right = -1;
            for (int i = t; i < size; i += block_.threads()) {
                const std::uint8_t mark = problem.trimap[i];
                if (!is_usable(problem.image[i])) bad = cuda::kMattingBadImage;
                if (!is_trimap_value(mark)) bad = most(bad, int(cuda::kMattingBadTrimap));
                if (problem.prior != nullptr && !(problem.prior[i] >= 0 && problem.prior[i] <= 1))
                    bad = cuda::kMattingBadPrior;
                foreground += mark == kForeground;
                background += mark == kBackground;
                if (mark != kUnknown) {
                    problem.alpha[i] = mark == kForeground ? 1.0f : 0.0f;
                    continue;
                }
                ++unknowns;
                const int y = i / problem.cols, x = i - y * problem.cols;
                top = least(top, y);
                bottom = most(bottom, y);
                left = least(left, x);
                right = most(right, x);
            }
            counts[t] = {{double(unknowns), double(foreground), double(background)}};
            extents[t] = {
                {double(-top), double(bottom), double(-left), double(right), double(bad)}};
        });
        const Values<3> counted = block_.template reduce<Sum>(counts);
        const Values<5> extent = block_.template reduce<Largest>(extents);
        status = int(extent.of[4]);
        if (status == cuda::kMattingDone && counted.of[0] > 0) {
            const Region region = Region::around(int(-extent.of[0]), int(extent.of[1]),
                                                 int(-extent.of[2]), int(extent.of[3]),
                                                 problem().rows, problem().cols);
            const bool needed = counted.of[1] > 0 && counted.of[2] > 0;
            if (needed && !Store::fits(Band::of(region, 0, block_.blocks(), Store::kStride)))
                status = cuda::kMattingPending;
            block_.once([&](int t, int rank) {
                const Band band = Band::of(region, rank, block_.blocks(), Store::kStride);
                frame(t).band = band;
                frame(t).neighbours = {band.above != 0 ? block_.beside(stores_, t, -1) : nullptr,
                                       band.below != 0 ? block_.beside(stores_, t, 1) : nullptr,
                                       band.height * band.stride};
            });
        }
        block_.sync();
        return counted;
    }

    // Alpha of the unknown pixels, or NaN everywhere.
    DSNET_DEVICE void fill_alpha(bool bad, float open) {
        block_.each([&](int t) {
            for (int i = t; i < problem().rows * problem().cols; i += block_.threads()) {
                if (bad)
                    problem().alpha[i] = not_a_number();
                else if (problem().trimap[i] == kUnknown)
                    problem().alpha[i] = open;
            }
        });
    }

    // Planes, and the strips that hold unknown pixels or windows around such. False where a store
    // has no room for these.
    DSNET_DEVICE bool load() {
        block_.each([&](int t) {
            Store& own = store(t);
            own.place(frame(t).band);
            clear(own.p, t);
            clear(own.slope, t);
            clear(own.offset, t);
            clear(own.grey, t);
        });
        block_.sync();
        block_.each([&](int t) {
            Store& own = store(t);
            each_cell(t, [&](int cell, int pixel) {
                const std::uint8_t mark = problem().trimap[pixel];
                own.grey[cell] = problem().image[pixel];
                own.p[cell] = mark == kForeground ? 1.0 : 0.0;
                own.slope[cell] = mark == kUnknown ? 1.0 : 0.0;
            });
        });
        block_.sync();
        list_pixels();
        list_windows();
        block_.sync();
        if (Store::kMayOverflow) {
            Own<Values<1>> listed;
            block_.each(
                [&](int t) { listed[t] = {{double(most(frame(t).windows, frame(t).pixels))}}; });
            if (block_.template reduce<Largest>(listed).of[0] > Store::kStrips) return false;
        }
        block_.each([&](int t) {
            store(t).take_lists(own_[t], local(t), frame(t).windows, frame(t).pixels);
        });
        block_.sync();
        block_.each([&](int t) {
            clear(store(t).slope, t);
            clear(store(t).offset, t);
        });
        block_.sync();
        return true;
    }

    // Gains of the windows, steps of the diagonal; whether pixels may be all but untied.
    DSNET_DEVICE bool take_statistics() {
        block_.once([&](int t, int) {
            frame(t).share =
                1.0 / (window_centres(problem().rows).width * window_centres(problem().cols).width);
        });
        block_.sync();
        Own<Values<1>> untied;
        block_.each([&](int t) {
            untied[t] = {{0.0}};
            Store& own = store(t);
            const int stride = this->stride();
            const Neighbours to = frame(t).neighbours;
            Store::each_slot(local(t), frame(t).windows, [&](int k) {
                const std::uint32_t packed = own.window(own_[t], local(t), k);
                const int first = int(packed >> kStrip);
                DSNET_ROLLED
                for (int j = 0; j < kStrip; ++j) {
                    const int cell = first + j * stride;
                    const WindowFit fit = (packed >> j & 1) != 0 ? fit_at(t, cell)
                                                                 : WindowFit{0.0, 0.0, false};
                    own.put(to, own.slope, cell, j, fit.mean);
                    own.put(to, own.offset, cell, j, fit.gain);
                    if (fit.untied) untied[t].of[0] = 1.0;
                }
            });
        });
        const bool found = block_.template reduce<Largest>(untied).of[0] > 0;
        block_.each([&](int t) {
            Store& own = store(t);
            own.take_gains(own_[t], local(t), frame(t).windows, this->stride());
            weigh(t);
        });
        block_.sync();
        return found;
    }

    // body(k, j, cell, count) for the pixels of the thread's strips.
    template <class Body>
    DSNET_DEVICE void each_pixel(int t, Body body) {
        Store::each_slot(local(t), frame(t).pixels, [&](int k) {
            const int cell = store(t).pixel(own_[t], local(t), k);
            const std::uint32_t counts = store(t).counts(own_[t], local(t), k);
            DSNET_UNROLL
            for (int j = 0; j < kStrip; ++j) body(k, j, cell + j * stride(), count_of(counts, j));
        });
    }

    // body(cell, pixel) for the thread's share of the band and the rows that it is shown.
    template <class Body>
    DSNET_DEVICE void each_cell(int t, Body body) {
        const Band& band = frame(t).band;
        const int size = (band.above + band.rows + band.below) * band.cols;
        for (int i = local(t); i < size; i += Block::kThreads) {
            const int y = i / band.cols - band.above, x = i % band.cols;
            body(y * stride() + x, (band.top + y) * problem().cols + band.left + x);
        }
    }

    DSNET_DEVICE int pixel_at(int t, int cell) {
        const Band& band = frame(t).band;
        const int y = cell / stride(), x = cell - y * stride();
        return (band.top + y) * problem().cols + band.left + x;
    }

    Block& block_;
    Store* stores_;
    Frame* frames_;
    Own<Thread> own_;

  private:
    template <class T>
    DSNET_DEVICE void clear(T* plane, int t) {
        const Band& band = frame(t).band;
        for (int i = local(t); i < band.plane(); i += Block::kThreads)
            plane[i - band.origin()] = T(0);
    }

    // The slope's plane holds 1 where a pixel is unknown.
    DSNET_DEVICE void list_pixels() {
        const Centres down = window_centres(problem().rows);
        const Centres across = window_centres(problem().cols);
        block_.compact([&](int t) { return frame(t).band.strip_count(); },
                       [&](int t, int item) {
                           const Band& band = frame(t).band;
                           const int y = item / band.cols * kStrip, x = item % band.cols;
                           const int width = windows_around(band.left + x, across);
                           std::uint32_t packed = 0;
                           for (int j = 0; j < kStrip; ++j) {
                               const int height = windows_around(band.top + y + j, down);
                               if (y + j < band.rows && store(t).slope[(y + j) * stride() + x] > 0)
                                   packed |= packed_count(width * height, j);
                           }
                           return packed;
                       },
                       [&](int t, int item, std::uint32_t packed, int position) {
                           const Band& band = frame(t).band;
                           const int y = item / band.cols * kStrip, x = item % band.cols;
                           store(t).pixel_list[position] = y * stride() + x;
                           store(t).count_list[position] = packed;
                       },
                       [&](int t, int count) { frame(t).pixels = count; });
    }

    DSNET_DEVICE void list_windows() {
        const Centres down = window_centres(problem().rows);
        const Centres across = window_centres(problem().cols);
        block_.compact([&](int t) { return frame(t).band.strip_count(); },
                       [&](int t, int item) {
                           const Band& band = frame(t).band;
                           const int y = item / band.cols * kStrip, x = item % band.cols;
                           std::uint32_t mask = 0;
                           if (band.left + x < across.first || band.left + x > across.last)
                               return mask;
                           for (int j = 0; j < kStrip && y + j < band.rows; ++j) {
                               const int row = band.top + y + j;
                               if (row < down.first || row > down.last) continue;
                               double touched = 0;
                               for (int dy = -1; dy <= 1; ++dy)
                                   for (int dx = -1; dx <= 1; ++dx)
                                       touched += store(t).slope[(y + j + dy) * stride() + x + dx];
                               if (touched > 0) mask |= 1u << j;
                           }
                           return mask;
                       },
                       [&](int t, int item, std::uint32_t mask, int position) {
                           const Band& band = frame(t).band;
                           const int y = item / band.cols * kStrip, x = item % band.cols;
                           store(t).window_list[position] =
                               std::uint32_t(y * stride() + x) << kStrip | mask;
                       },
                       [&](int t, int count) { frame(t).windows = count; });
    }

    // The step of the diagonal, kept in memory until the descent needs it.
    DSNET_DEVICE void weigh(int t) {
        Store& own = store(t);
        Store::each_slot(local(t), frame(t).pixels, [&](int k) {
            const int first = own.pixel(own_[t], local(t), k);
            const std::uint32_t counts = own.counts(own_[t], local(t), k);
            DSNET_ROLLED
            for (int j = 0; j < kStrip; ++j) {
                const int cell = first + j * stride(), count = count_of(counts, j);
                const double grey = own.grey[cell];
                double fitted = 0;
                DSNET_ROLLED
                for (int around = 0; around < 9; ++around) {
                    const int i = cell + (around / 3 - 1) * stride() + around % 3 - 1;
                    fitted += own.offset[i] * ((grey - own.slope[i]) * (grey - own.slope[i]));
                }
                own.before(local(t), k, j) =
                    count > 0 ? relaxation(count, frame().share, problem().weight, fitted) : 0.0f;
            }
        });
    }

    DSNET_DEVICE WindowFit fit_at(int t, int cell) {
        const int stride = this->stride();
        const float* grey = store(t).grey + cell;
        const int y = cell / stride + frame(t).band.top, x = cell % stride + frame(t).band.left;
        return fit_window([&](int dy, int dx) { return grey[dy * stride + dx]; },
                          [&](int dy, int dx) {
                              return y + dy >= 0 && x + dx >= 0 && y + dy < problem().rows &&
                                     x + dx < problem().cols;
                          },
                          frame().share, problem().epsilon);
    }
};

}  // namespace dsnet::matting_device
