// Where a crop around a mark lies in its image; agrees with dsnet.data.crop_plan, which says more,
// and which tells what is wrong with a mark around which none can be cut.
#pragma once

#include <cstddef>

#include "base/image.h"
#include "mark/recist.h"

namespace dsnet {

struct CropPlan {
    Point offset, scale;
    Box box;                   // what the crop is made of
    Box around_mark, at_mark;  // the mark's box and `ring` pixels around it, and the box alone
    double mark[8];            // in the crop's pixels, the longer axis first
};

// `coordinates` are the long axis' x1 y1 x2 y2, then the short one's, all NaN where it is unknown;
// `scale` is that of a mark which need not be shrunk. False where no crop can be cut, or a number
// is odd.
bool plan_crop(const double coordinates[8], std::ptrdiff_t rows, std::ptrdiff_t cols,
               std::ptrdiff_t size, Point scale, double ring, CropPlan& plan);

}  // namespace dsnet
