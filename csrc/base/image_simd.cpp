#include "base/image_simd.h"

#include "base/lanes.h"

namespace dsnet::DSNET_UNIT {
namespace {

constexpr float kHalf = 0.5f;
constexpr float kBelowHalf = 0.49999997f;  // the next float32

Range range(const float* values, std::ptrdiff_t count) {
    typedef Lanes<float> Lane;
    typedef Lane::Values Values;
    Range found = {values[0], values[0], values[0] == values[0]};
    std::ptrdiff_t i = 0;
    if (count >= kLanes) {
        Reduction<float> low, high, odd;
        low.each([&](Values& part, std::ptrdiff_t lane) { part = Lane::at(values + lane); });
        high = low;
        for (; i + kLanes <= count; i += kLanes) {
            const float* here = values + i;
            low.each([&](Values& part, std::ptrdiff_t lane) {
                const Values v = Lane::at(here + lane);
                part = v < part ? v : part;
            });
            high.each([&](Values& part, std::ptrdiff_t lane) {
                const Values v = Lane::at(here + lane);
                part = v > part ? v : part;
            });
            odd.each([&](Values& part, std::ptrdiff_t lane) {
                const Values v = Lane::at(here + lane);
                part = v == v ? part : Lane::all(1.0f);
            });
        }
        for (int lane = 0; lane < kLanes; ++lane) {
            found.low = low[lane] < found.low ? low[lane] : found.low;
            found.high = high[lane] > found.high ? high[lane] : found.high;
            found.ordered &= odd[lane] == 0;
        }
    }
    for (; i < count; ++i) {
        found.low = values[i] < found.low ? values[i] : found.low;
        found.high = values[i] > found.high ? values[i] : found.high;
        found.ordered &= values[i] == values[i];
    }
    return found;
}

void take_sides(const std::uint8_t* mask, std::ptrdiff_t count, float* alpha,
                std::uint8_t* binary) {
    DSNET_INDEPENDENT
    for (std::ptrdiff_t i = 0; i < count; ++i) {
        const float value = alpha[i];
        const float at_least = value > kHalf ? value : kHalf;
        const float at_most = value < kBelowHalf ? value : kBelowHalf;
        alpha[i] = mask[i] ? at_least : at_most;
        binary[i] = mask[i];
    }
}

}  // namespace

extern const ImageSimd image_simd;
const ImageSimd image_simd = {&range, &take_sides};

}  // namespace dsnet::DSNET_UNIT
