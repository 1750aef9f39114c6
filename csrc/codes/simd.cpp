#include "codes/simd.h"

#include "base/lanes.h"

namespace dsnet::DSNET_UNIT {
namespace {

using Index = std::ptrdiff_t;

// A sum of so many ones fits into 32 bits.
constexpr Index kBlock = Index{1} << 20;

template <typename T, typename Holds>
DSNET_INLINE bool all_of(const T* values, Index count, Holds holds) {
    for (Index begin = 0; begin < count; begin += kBlock) {
        const Index end = begin + kBlock < count ? begin + kBlock : count;
        std::int32_t sound = 0;
        for (Index i = begin; i < end; ++i) sound += holds(values[i]);
        if (sound != end - begin) return false;
    }
    return true;
}

bool are_shares(const float* values, Index count) {
    return all_of(values, count, [](float value) { return (value >= 0) & (value <= 1); });
}

bool are_trimap(const std::uint8_t* values, Index count) {
    return all_of(values, count, [](std::uint8_t value) {
        return (value == 0) | (value == 128) | (value == 255);
    });
}

// floor(value * top + 0.5) of the exact product.
template <typename Code>
DSNET_INLINE void quantise(const float* values, Index count, Code* codes) {
#if defined(__FMA__) || defined(__aarch64__)
    // Rounded to float32 the product may become the whole number above it, but passes none; the
    // sign of a fused sum is that of the exact one. Half as many vectors as float64 takes.
    constexpr float kTop = static_cast<Code>(-1);
    DSNET_INDEPENDENT
    for (Index i = 0; i < count; ++i) {
        const auto whole = static_cast<std::int32_t>(values[i] * kTop);
        const float above = __builtin_fmaf(values[i], kTop, -(static_cast<float>(whole) + 0.5f));
        codes[i] = static_cast<Code>(whole + (above >= 0));
    }
#else
    constexpr double kTop = static_cast<Code>(-1);
    DSNET_INDEPENDENT
    for (Index i = 0; i < count; ++i)
        codes[i] = static_cast<Code>(static_cast<std::int32_t>(values[i] * kTop + 0.5));
#endif
}

void quantise_8(const float* values, Index count, std::uint8_t* codes) {
    quantise(values, count, codes);
}
void quantise_16(const float* values, Index count, std::uint16_t* codes) {
    quantise(values, count, codes);
}

void halve(const float* values, Index count, std::uint8_t* binary) {
    DSNET_INDEPENDENT
    for (Index i = 0; i < count; ++i) binary[i] = values[i] >= 0.5f;
}

std::uint16_t lowest(const std::uint16_t* codes, Index count, std::uint16_t least) {
    std::uint16_t below = static_cast<std::uint16_t>(least - 1);
    for (Index i = 0; i < count; ++i) {
        const auto one = static_cast<std::uint16_t>(codes[i] - 1);
        below = one < below ? one : below;
    }
    return static_cast<std::uint16_t>(below + 1);
}

}  // namespace

extern const CodesSimd codes_simd;
const CodesSimd codes_simd = {&are_shares, &quantise_8, &quantise_16, &halve, &are_trimap, &lowest};

}  // namespace dsnet::DSNET_UNIT
