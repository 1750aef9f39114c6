// What the edge model knows of a RECIST mark, and its numbers, for CPU and GPU;
// dsnet/labeling/edge_model.py says more.
#pragma once

#include <cstdint>

#include "edge/network.h"

namespace dsnet {

// Log-odds are cut off here: certain, and yet a number.
inline constexpr float kCertain = 8.0f;
static_assert(kSteps == 2 * kCertain * kStepsPerLogOdd, "the steps cover all log-odds");
// Contrast below this, in the image's 0..1, is none: grey values say nothing then.
inline constexpr double kLeastContrast = 0.02;
// The lesion's grey value is that of the cells within this share of the curve's radius, of so many
// at least; the surroundings' that of the cells from so many pixels outside the curve on.
inline constexpr float kCoreShare = 0.6f;
inline constexpr int kLeastCore = 4;
inline constexpr float kRingBegin = 1.5f;
inline constexpr int kLeastRing = 5;
// Relative grey values, and the surroundings' spread beside the contrast, are cut off here.
inline constexpr float kLowestGrey = -1.0f, kHighestGrey = 2.5f;
inline constexpr double kMostSpread = 2.0;
// So far are pixels outside the curve told apart, and as shares of half the short axis.
inline constexpr float kMostOutside = 5.0f;
inline constexpr float kLeastOutsideShare = -1.0f, kMostOutsideShare = 1.5f;
// The frame reaches so far from its centre: a share of the longer axis, and pixels.
inline constexpr double kFrameShare = 0.8, kFramePixels = 3.0;
// What a pixel's grey value says beyond its cell's: log-odds for a whole contrast, less where the
// surroundings' own spread is no smaller.
inline constexpr float kDetail = 6.0f, kDetailSpread = 2.0f;
// A cell is the mean of as many samples a side as it has pixels, at most of so many.
inline constexpr int kMostSamples = 8;

// The mark's frame and the curve through the end points, in pixels of the image.
struct EdgeCurve {
    // The frame: a square of kGrid x kGrid cells around (x, y), its columns along the long axis.
    float x, y, along_x, along_y;
    float half, step, cells_per_pixel;
    std::int32_t samples;
    // The curve: quarter ellipses around the axes' crossing, which lies (cross_u, cross_v) from the
    // frame's centre, with the half axes on its negative and positive side.
    float cross_u, cross_v;
    float half_u[2], half_v[2];
    float half_short;
    float ring;  // the surroundings lie at most so many pixels outside the curve
};

// What follows from a mark alone, of a window of rows x cols pixels.
struct EdgePlan {
    std::int32_t rows, cols;
    EdgeCurve curve;
    // What is the same for all cells, but for the surroundings' spread, which grey values tell.
    double constants[kConstants];
};

// From where on log-odds are lesion, and what Dice that may have.
struct EdgeThreshold {
    float log_odds;
    double expected_dice;
};

struct EdgeOutcome {
    double contrast;  // the lesion's grey value less the surroundings'
    EdgeThreshold threshold;
};

}  // namespace dsnet
