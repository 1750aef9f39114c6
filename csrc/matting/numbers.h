// The numbers of closed-form matting, for CPU and GPU.
#pragma once

namespace dsnet {

// Beyond this, float32 and the one-pass variance lose too much.
inline constexpr float kLargestGrey = 16.0f;
// So few known pixels of a kind hardly hold the unknown ones.
inline constexpr int kFewKnown = 8;
// Grey values within this share of a window's spread are one of its two.
inline constexpr float kSameGrey = 0.02f;
// What the residual must come down to where pixels may be all but untied from the others.
inline constexpr double kUntiedRtol = 1e-12;
// Rounding may stop it this much earlier, which is still good.
inline constexpr double kUntiedSlack = 10.0;
// A residual of so many times ||A|| ||x|| is rounding.
inline constexpr double kRounding = 1e-15;
// Of a pixel's weights, what rounding leaves of the smoother's least.
inline constexpr double kLeastWeight = 1e-13;

}  // namespace dsnet
