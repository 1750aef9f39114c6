// The numbers of the cut, for CPU and GPU.
#pragma once

#include <cstdint>

namespace dsnet {

// Cost of one pixel of border between lesion and background, in units of log-odds.
inline constexpr double kBorderCost = 0.3;
// A cut this much smaller or larger than the axes' ellipse has gone astray.
inline constexpr double kLeastArea = 0.1, kMostArea = 8.0;
// Where no cut works the border may lie between these two, as shares of the axes' ellipse.
inline constexpr double kInnerEllipse = 0.75, kOuterEllipse = 1.25;

// The minimum cut counts in whole units, so many to a log-odd; a seed has more than all borders.
inline constexpr double kUnits = 4096.0;
inline constexpr std::int32_t kSeedOdds = 1 << 28;
// Added to a number and taken off again, it rounds to the nearest even whole one, as numpy.rint
// does: it leaves no room for a fraction. Log-odds in the cut's units are too few for more than 24
// bits.
inline constexpr float kRounder = 12582912.0f;

}  // namespace dsnet
