// A block of threads finds the minimum cut of an image whose pixels know how likely they are
// lesion: `BorderCut`, to the pixel.
//
// What neighbours decide is decided first, all pixels at a time. The rest is a graph through which
// push-relabel pushes what speaks for background to pixels that lean to lesion: distances are
// measured anew, by breadth-first search, then one wave goes from the farthest pixels to the
// nearest. Pixels of one distance never push to each other, and those of the next one gather what
// was pushed to them, so that no two threads write the same place. A wave leaves nothing that could
// be pushed on without a new distance, and distances only grow, which ends it. Pixels from which no
// room can be reached any more are background; the others, in every minimum cut, are lesion.
#pragma once

#include <cstdint>

#include "base/gpu_block.h"
#include "cut/numbers.h"
#include "masks/gpu_bits.h"

namespace dsnet::cut_device {

constexpr std::int32_t kFar = 0x7fffffff;
constexpr int kDirections = 8;  // d and d ^ 1 are opposite; the first four are side by side

enum State : std::uint8_t { kOpen, kLesion, kBackground };

DSNET_HOST_DEVICE std::int32_t whole_odds(float odds) {
    return std::int32_t((odds * float(kUnits) + kRounder) - kRounder);
}

// Pixels that are not decided; `capacity` of each, directions one after the other.
struct CutGraph {
    std::int32_t *pixel, *excess, *room, *level, *next_level;
    std::uint16_t *residual, *pushed;
    int capacity;

    DSNET_HOST_DEVICE static std::size_t bytes(int capacity) {
        return std::size_t(capacity) *
               (5 * sizeof(std::int32_t) + 2 * kDirections * sizeof(std::uint16_t));
    }
    DSNET_HOST_DEVICE CutGraph(void* memory, int capacity_)
        : pixel(static_cast<std::int32_t*>(memory)),
          excess(pixel + capacity_),
          room(excess + capacity_),
          level(room + capacity_),
          next_level(level + capacity_),
          residual(reinterpret_cast<std::uint16_t*>(next_level + capacity_)),
          pushed(residual + kDirections * std::int64_t(capacity_)),
          capacity(capacity_) {}
};

// An entry for each pixel of the window.
struct CutPlanes {
    const float* log_odds;
    std::uint8_t *state, *next_state;
    std::int32_t* number;  // of the pixel's node, -1 without
};

template <class Block>
class BorderCutBlock {
  public:
    // Seeds are rows of the window, its first column in bit `seed_column` of each. The graph lies
    // in `small`, which has room for `small_nodes`, or else in `large`, which has room for all
    // pixels.
    DSNET_DEVICE BorderCutBlock(Block& block, int rows, int cols, const CutPlanes& planes,
                                const morphology_device::BitRows& seeds, int seed_column,
                                std::int32_t side, std::int32_t across)
        : block_(block),
          rows_(rows),
          cols_(cols),
          planes_(planes),
          seeds_(seeds),
          seed_column_(seed_column),
          side_(side),
          across_(across) {}

    // Leaves each pixel's state, lesion or background; returns how many had to be searched.
    DSNET_DEVICE int run(void* small, int small_nodes, void* large, std::int32_t* first_of_thread) {
        decide();
        const int nodes = count_open(first_of_thread);
        if (nodes == 0) return 0;
        const bool fits = nodes <= small_nodes;
        CutGraph graph(fits ? small : large, fits ? small_nodes : rows_ * cols_);
        build(graph, first_of_thread);
        while (measure_levels(graph, nodes)) push(graph, nodes);
        block_.each([&](int t) {
            for (int k = t; k < nodes; k += Block::kThreads)
                planes_.state[graph.pixel[k]] = graph.level[k] == kFar ? kBackground : kLesion;
        });
        block_.sync();
        return nodes;
    }

    // Where the states are, after `run`.
    DSNET_HOST_DEVICE const std::uint8_t* state() const { return planes_.state; }

  private:
    struct Step {
        int y, x;
    };
    DSNET_HOST_DEVICE static Step step_of(int d) {
        const int sign = d % 2 == 0 ? 1 : -1;
        return {d < 2 ? 0 : sign, d < 2 ? sign : d < 4 ? 0 : d < 6 ? sign : -sign};
    }
    DSNET_HOST_DEVICE std::int32_t cost_of(int d) const { return d < 4 ? side_ : across_; }

    // -1 beyond the window.
    DSNET_HOST_DEVICE int beside(int i, int d) const {
        const Step step = step_of(d);
        const int y = i / cols_ + step.y, x = i % cols_ + step.x;
        return y < 0 || y >= rows_ || x < 0 || x >= cols_ ? -1 : y * cols_ + x;
    }

    DSNET_HOST_DEVICE std::int32_t own_odds(int i) const {
        const int y = i / cols_, x = i % cols_ + seed_column_;
        const bool seed = seeds_.at(y, x / morphology_device::kWordBits) >>
                              (x % morphology_device::kWordBits) &
                          1;
        return seed ? kSeedOdds : whole_odds(planes_.log_odds[i]);
    }

    struct Balance {
        std::int32_t own, borders;
    };
    // What a pixel has of its own with what its decided neighbours add, and its borders with the
    // others.
    DSNET_HOST_DEVICE Balance balance(int i) const {
        Balance found = {own_odds(i), 0};
        for (int d = 0; d < kDirections; ++d) {
            const int other = beside(i, d);
            if (other < 0) continue;
            const std::uint8_t state = planes_.state[other];
            if (state == kOpen) found.borders += cost_of(d);
            if (state == kLesion) found.own += cost_of(d);
            if (state == kBackground) found.own -= cost_of(d);
        }
        return found;
    }

    // Decides pixels until none outweighs its borders with the open ones any more.
    DSNET_DEVICE void decide() {
        const std::int32_t all_borders = 4 * (side_ + across_);
        block_.each([&](int t) {
            for (int i = t; i < rows_ * cols_; i += Block::kThreads) {
                const std::int32_t own = own_odds(i);
                planes_.state[i] = own > all_borders    ? kLesion
                                   : own < -all_borders ? kBackground
                                                        : kOpen;
            }
        });
        block_.sync();
        bool changed = true;
        while (changed) {
            changed = block_.any([&](int t) {
                bool decided = false;
                for (int i = t; i < rows_ * cols_; i += Block::kThreads) {
                    std::uint8_t state = planes_.state[i];
                    if (state == kOpen) {
                        const Balance found = balance(i);
                        if (found.own > found.borders) state = kLesion;
                        if (found.own < -found.borders) state = kBackground;
                        decided |= state != kOpen;
                    }
                    planes_.next_state[i] = state;
                }
                return decided;
            });
            std::uint8_t* const before = planes_.state;
            planes_.state = planes_.next_state;
            planes_.next_state = before;
        }
    }

    // A thread numbers the pixels of a stretch of its own.
    DSNET_HOST_DEVICE int stretch() const {
        return (rows_ * cols_ + Block::kThreads - 1) / Block::kThreads;
    }
    DSNET_HOST_DEVICE int end_of(int t) const {
        return morphology_device::lesser((t + 1) * stretch(), rows_ * cols_);
    }

    // Leaves each thread's first number.
    DSNET_DEVICE int count_open(std::int32_t* first_of_thread) {
        block_.each([&](int t) {
            int open = 0;
            for (int i = t * stretch(); i < end_of(t); ++i) open += planes_.state[i] == kOpen;
            first_of_thread[t + 1] = open;
            if (t == 0) first_of_thread[0] = 0;
        });
        block_.sync();
        block_.each([&](int t) {
            if (t == 0)
                for (int k = 0; k < Block::kThreads; ++k)
                    first_of_thread[k + 1] += first_of_thread[k];
        });
        block_.sync();
        return first_of_thread[Block::kThreads];
    }

    DSNET_DEVICE void build(const CutGraph& graph, const std::int32_t* first_of_thread) {
        block_.each([&](int t) {
            int next = first_of_thread[t];
            for (int i = t * stretch(); i < end_of(t); ++i) {
                const bool open = planes_.state[i] == kOpen;
                planes_.number[i] = open ? next : -1;
                if (open) graph.pixel[next++] = i;
            }
        });
        block_.sync();
        const int nodes = first_of_thread[Block::kThreads];
        block_.each([&](int t) {
            for (int k = t; k < nodes; k += Block::kThreads) {
                const int i = graph.pixel[k];
                const std::int32_t own = balance(i).own;
                graph.excess[k] = own < 0 ? -own : 0;
                graph.room[k] = own > 0 ? own : 0;
                for (int d = 0; d < kDirections; ++d) {
                    const int other = beside(i, d);
                    const bool joined = other >= 0 && planes_.number[other] >= 0;
                    residual(graph, k, d) = std::uint16_t(joined ? cost_of(d) : 0);
                }
            }
        });
        block_.sync();
    }

    DSNET_HOST_DEVICE static std::uint16_t& residual(const CutGraph& graph, int k, int d) {
        return graph.residual[d * std::int64_t(graph.capacity) + k];
    }
    DSNET_HOST_DEVICE static std::uint16_t& pushed(const CutGraph& graph, int k, int d) {
        return graph.pushed[d * std::int64_t(graph.capacity) + k];
    }

    // The node beside, -1 without.
    DSNET_HOST_DEVICE int node_beside(const CutGraph& graph, int k, int d) const {
        const int other = beside(graph.pixel[k], d);
        return other < 0 ? -1 : planes_.number[other];
    }

    // Steps from each node to one with room, 1 for that itself; false where nothing can be pushed.
    DSNET_DEVICE bool measure_levels(CutGraph& graph, int nodes) {
        block_.each([&](int t) {
            for (int k = t; k < nodes; k += Block::kThreads)
                graph.level[k] = graph.room[k] > 0 ? 1 : kFar;
        });
        block_.sync();
        bool grew = true;
        for (std::int32_t level = 1; grew; ++level) {
            grew = block_.any([&](int t) {
                bool found = false;
                for (int k = t; k < nodes; k += Block::kThreads) {
                    std::int32_t own = graph.level[k];
                    for (int d = 0; d < kDirections && own == kFar; ++d) {
                        if (residual(graph, k, d) == 0) continue;
                        if (graph.level[node_beside(graph, k, d)] != level) continue;
                        own = level + 1;
                        found = true;
                    }
                    graph.next_level[k] = own;
                }
                return found;
            });
            std::int32_t* const before = graph.level;
            graph.level = graph.next_level;
            graph.next_level = before;
        }
        farthest_ = -block_.least([&](int t) {
            std::int32_t least = 0;
            for (int k = t; k < nodes; k += Block::kThreads)
                if (graph.excess[k] > 0 && graph.level[k] != kFar && -graph.level[k] < least)
                    least = -graph.level[k];
            return least;
        });
        return farthest_ > 0;
    }

    DSNET_DEVICE void push(const CutGraph& graph, int nodes) {
        for (std::int32_t level = farthest_; level > 0; --level) {
            block_.each([&](int t) {
                for (int k = t; k < nodes; k += Block::kThreads) {
                    if (graph.level[k] != level) continue;
                    if (level < farthest_) gather(graph, k, level);
                    pass_on(graph, k, level);
                }
            });
            block_.sync();
        }
    }

    // Takes what the nodes one step farther pushed here.
    DSNET_HOST_DEVICE void gather(const CutGraph& graph, int k, std::int32_t level) const {
        for (int d = 0; d < kDirections; ++d) {
            const int other = node_beside(graph, k, d);
            if (other < 0 || graph.level[other] != level + 1) continue;
            const std::uint16_t amount = pushed(graph, other, d ^ 1);
            residual(graph, k, d) = std::uint16_t(residual(graph, k, d) + amount);
            graph.excess[k] += amount;
        }
    }

    DSNET_HOST_DEVICE void pass_on(const CutGraph& graph, int k, std::int32_t level) const {
        std::int32_t excess = graph.excess[k];
        if (level == 1) {
            const std::int32_t amount = morphology_device::lesser(excess, graph.room[k]);
            graph.room[k] -= amount;
            graph.excess[k] = excess - amount;
            return;
        }
        for (int d = 0; d < kDirections; ++d) {
            const int other = node_beside(graph, k, d);
            if (other < 0 || graph.level[other] != level - 1) continue;
            const std::int32_t amount = morphology_device::lesser(excess, residual(graph, k, d));
            residual(graph, k, d) = std::uint16_t(residual(graph, k, d) - amount);
            pushed(graph, k, d) = std::uint16_t(amount);
            excess -= amount;
        }
        graph.excess[k] = excess;
    }

    Block& block_;
    const int rows_, cols_;
    CutPlanes planes_;
    const morphology_device::BitRows seeds_;
    const int seed_column_;
    const std::int32_t side_, across_;
    std::int32_t farthest_ = 0;
};

}  // namespace dsnet::cut_device
