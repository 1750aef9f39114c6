// The numbers of trimaps, for CPU and GPU.
#pragma once

#include <cstdint>

namespace dsnet {

inline constexpr std::uint8_t kBackground = 0;
inline constexpr std::uint8_t kUnknown = 128;
inline constexpr std::uint8_t kForeground = 255;

// Default margin as a share of the lesion's short axis, and its least in pixels.
inline constexpr double kMarginShare = 0.15;
inline constexpr double kLeastMargin = 1.0;
// Strategy 3's unknown band: besides the pixels on either side of the cut, those whose log-odds are
// weaker than this and that hang together with them are unknown, as far from the cut as this share
// of the short axis.
inline constexpr float kFaintLogOdds = 1.5f;
inline constexpr double kFaintShare = 0.25;
inline constexpr double kFaintLeast = 2.0;

// The priors of strategies 1 and 2, see prior.h and dsnet/labeling/prior.py: how far in pixels
// readers draw outside of where grey values let the lesion end, how much that varies, and how far
// from the edge it still matters.
inline constexpr double kEdgeBias = 0.2;
inline constexpr double kEdgeError = 0.5;
inline constexpr int kEdgeReach = 2;
// Votes for the lesion that are added to the readers', and where just half of them vote for it.
inline constexpr double kVotesAdded = 0.5;
inline constexpr double kVotesAddedAtHalf = 2.4;

}  // namespace dsnet
