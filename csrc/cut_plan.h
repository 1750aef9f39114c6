// What the CPU finds out about a mark before a GPU cuts its lesion: some hundred bytes, and the seeds.
#pragma once

#include <cstdint>

#include "edge_curve.h"

namespace dsnet {

struct CutPlan {
    // The part of the image that can hold the lesion; without rows the GPU leaves the image alone.
    std::int32_t top, left, rows, cols;
    EdgeCurve curve;
    float ring;               // the surroundings lie at most so many pixels outside the curve
    double same[2];           // features that grey values have no part in
    std::int32_t area;        // of the axes' ellipse
    std::int32_t corners;     // of the end points' hull
    double hull[8];           // x, y of each
    double centre_x, centre_y;
};

// What a cut came to. Where it is not done, the CPU's is needed.
enum CutStatus : std::int32_t {
    kCutDone = 0,
    kCutUnwanted = 1,  // by its plan
    kCutFellBack = 2,  // the grey values or the cut's area are of no use
};

struct CutConstants {
    EdgeNetwork network;
    EdgeTaps taps;
    std::int32_t side, across;  // cost of the border between two neighbours, in the cut's units
};

}  // namespace dsnet
