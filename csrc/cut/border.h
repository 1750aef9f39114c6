// The minimum cut of an image whose pixels know how likely they are lesion.
#pragma once

#include <cstdint>
#include <vector>

#include "base/image.h"
#include "cut/boykov_kolmogorov.h"

namespace dsnet {

struct ListedNeighbours {
    const std::int32_t* of = nullptr;  // eight to a node
    std::int32_t operator()(std::int32_t node, int direction) const {
        return of[8 * node + direction];
    }
};

// Minimises sum over lesion pixels of -log_odds, plus `border_cost` for every two neighbours side
// by side that the border parts and 1 / sqrt(2) of it for every two across; seeds are lesion. Of
// several minima the one with the least lesion. In units of 1 / kUnits.
//
// A pixel whose log-odds outweigh all its borders is decided beforehand, and then moves those of
// its neighbours: only what is left, a small share of most images, becomes a graph.
class BorderCut : private BoykovKolmogorov<ListedNeighbours> {
  public:
    // Of a neighbour side by side and of one across, in units.
    struct Costs {
        std::int32_t side, across;
    };
    static Costs costs(double border_cost);

    // Log-odds within +-1000. Returns how many pixels had to be searched. An object keeps its
    // memory, and serves one thread at a time.
    std::ptrdiff_t solve(Image<const float> log_odds, Image<const std::uint8_t> seeds,
                         double border_cost, Image<std::uint8_t> lesion);

  private:
    enum State : std::uint8_t { kOpen, kLesion, kBackground, kBeyond };

    struct Balance {
        std::int32_t own, borders;
    };

    Balance balance(std::ptrdiff_t pixel) const;
    void decide();

    std::int32_t weight_[kDirections];
    std::ptrdiff_t offset_[kDirections];
    std::vector<State> state_;            // with a border of one pixel
    std::vector<std::int32_t> terminal_;  // so has this
    std::vector<Index> number_;
    std::vector<std::ptrdiff_t> open_, again_;
    std::vector<Index> neighbour_list_;
};

}  // namespace dsnet
