#include "crop/simd.h"

#include "base/lanes.h"

namespace dsnet::DSNET_UNIT {
namespace {

using Index = std::ptrdiff_t;

void add_codes(const std::uint16_t* codes, Index count, double offset, double weight,
               double* sums) {
    DSNET_INDEPENDENT
    for (Index i = 0; i < count; ++i)
        sums[i] += weight * (static_cast<double>(static_cast<std::int32_t>(codes[i])) - offset);
}

void add_values(const double* values, Index count, double weight, double* sums) {
    DSNET_INDEPENDENT
    for (Index i = 0; i < count; ++i) sums[i] += weight * values[i];
}

void windowed(const double* hu, Index count, double low, double high, float* values) {
    const double width = high - low;
    DSNET_INDEPENDENT
    for (Index i = 0; i < count; ++i) {
        double share = (static_cast<double>(static_cast<float>(hu[i])) - low) / width;
        share = share > 0.0 ? share : 0.0;
        values[i] = static_cast<float>(share < 1.0 ? share : 1.0);
    }
}

}  // namespace

extern const CropSimd crop_simd;
const CropSimd crop_simd = {&add_codes, &add_values, &windowed};

}  // namespace dsnet::DSNET_UNIT
