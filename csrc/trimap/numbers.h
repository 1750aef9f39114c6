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

}  // namespace dsnet
