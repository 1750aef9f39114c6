// What the edge model knows of a RECIST mark, and its numbers, for CPU and GPU;
// dsnet/labeling/edge_model.py says more.
#pragma once

#include <cstdint>

namespace dsnet {

inline constexpr int kFeatures = 18;
inline constexpr int kVaryingFeatures = 15;  // the rest are the same for all pixels of a mark
inline constexpr int kHidden = 20;
inline constexpr int kSmoothings = 3;
inline constexpr int kLargestRadius = 12;

// Log-odds are cut off here: certain, and yet a number.
inline constexpr float kCertain = 8.0f;
// Contrast below this, in the image's 0..1, is taken as this: grey values say nothing then.
inline constexpr double kLeastContrast = 0.02;
// The lesion's grey value is that of the pixels within this share of the curve's radius, of so many
// at least; the surroundings' that of the pixels from so many outside the curve on.
inline constexpr float kCoreShare = 0.6f;
inline constexpr int kLeastCore = 3;
inline constexpr float kRingBegin = 1.5f;
inline constexpr int kLeastRing = 5;
// Relative grey values, and the surroundings' spread beside the contrast, are cut off here.
inline constexpr float kLowestGrey = -1.0f, kHighestGrey = 2.5f;
inline constexpr double kMostSpread = 2.0;

// Row-major weights [out][in] of the three layers, in the features as they are.
struct EdgeNetwork {
    float weight1[kHidden][kFeatures];
    float bias1[kHidden];
    float weight2[kHidden][kHidden];
    float bias2[kHidden];
    float weight3[kHidden];
    float bias3;
};

// Places are in pixels of a window of the image.
struct EdgeCurve {
    // The curve through the end points: quarter ellipses around (x, y), the axes' crossing, with
    // the half axes on its negative and positive side.
    float x, y, along_x, along_y;
    float half_u[2], half_v[2];
    // The axes' ellipse: its centre against the crossing, and its half axes.
    float centre_u, centre_v, half_long, half_short;
    float reach;  // pixels outside the curve that can be lesion
};

// What follows from a mark alone, of a window of rows x cols pixels.
struct EdgePlan {
    std::int32_t rows, cols;
    EdgeCurve curve;
    float ring;  // the surroundings lie at most so many pixels outside the curve
    // The features that are the same for all pixels, but for the last, which grey values join.
    double same[kFeatures - kVaryingFeatures - 1];
};

// Weights of a separable filter, from its centre on, as scipy.ndimage.gaussian_filter has them.
struct EdgeTaps {
    float weight[kSmoothings][kLargestRadius + 1];
    int radius[kSmoothings];
};

}  // namespace dsnet
