// What the edge model knows of a RECIST mark; dsnet/labeling/edge_model.py says more.
#pragma once

namespace dsnet {

inline constexpr int kFeatures = 18;
inline constexpr int kVaryingFeatures = 15;  // the rest are the same for all pixels of a mark
inline constexpr int kHidden = 20;
inline constexpr int kSmoothings = 3;
inline constexpr int kLargestRadius = 12;

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

// Weights of a separable filter, from its centre on, as scipy.ndimage.gaussian_filter has them.
struct EdgeTaps {
    float weight[kSmoothings][kLargestRadius + 1];
    int radius[kSmoothings];
};

}  // namespace dsnet
