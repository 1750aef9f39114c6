// The numbers of the cut, for CPU and GPU.
#pragma once

namespace dsnet {

// A cut this much smaller or larger than the axes' ellipse has gone astray.
inline constexpr double kLeastArea = 0.1, kMostArea = 8.0;
// Where no cut works the border may lie between these two, as shares of the axes' ellipse.
inline constexpr double kInnerEllipse = 0.75, kOuterEllipse = 1.25;

}  // namespace dsnet
