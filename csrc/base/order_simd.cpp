#include "base/order_simd.h"

#include "base/lanes.h"

namespace dsnet::DSNET_UNIT {
namespace {

using Index = std::ptrdiff_t;
typedef Lanes<std::int32_t> Lane;

// Whole numbers in the order of the floating-point ones. The other way is the same.
DSNET_INLINE std::int32_t key_of(std::int32_t bits) { return bits ^ ((bits >> 31) & 0x7fffffff); }

#if !defined(__AVX512F__)
// Bit i is the sign of lane i.
DSNET_INLINE std::uint32_t signs(WholeVector v) {
#if defined(__AVX2__)
    return static_cast<std::uint32_t>(_mm256_movemask_ps(__m256(v)));
#elif defined(__SSE2__)
    return static_cast<std::uint32_t>(_mm_movemask_ps(__m128(v)));
#else
    std::uint32_t bits = 0;
    for (int lane = 0; lane < Lane::kCount; ++lane) bits |= std::uint32_t(v[lane] < 0) << lane;
    return bits;
#endif
}
#endif

std::ptrdiff_t collect(const Planes& planes, float above, float highest, std::int32_t* keys) {
    Index count = 0;
    for (Index y = 0; y < planes.rows; ++y) {
        for (Index x = 0; x < planes.cols; x += kLanes) {
            const float* at = planes.measured + y * planes.stride + x;
            const float* value = planes.values + y * planes.stride + x;
            const Index lanes = planes.cols - x < kLanes ? planes.cols - x : kLanes;
#if defined(__AVX512F__)
            const __m512 here = _mm512_loadu_ps(at);
            const auto chosen = static_cast<__mmask16>(
                _mm512_cmp_ps_mask(here, _mm512_set1_ps(above), _CMP_GT_OQ) &
                _mm512_cmp_ps_mask(here, _mm512_set1_ps(highest), _CMP_LE_OQ) &
                (0xffff >> (kLanes - lanes)));
            _mm512_storeu_ps(keys + count,
                             _mm512_maskz_compress_ps(chosen, _mm512_loadu_ps(value)));
            count += __builtin_popcount(chosen);
#else
            typedef Lanes<float> Floats;
            constexpr std::uint32_t kAll = (1u << Floats::kCount) - 1;
            for (Index part = 0; part < lanes; part += Floats::kCount) {
                const FloatVector here = Floats::at(at + part);
                std::uint32_t chosen = signs((here > above) & (here <= highest));
                if (lanes - part < Floats::kCount) chosen &= (1u << (lanes - part)) - 1;
                if (chosen == 0) continue;
                if (chosen == kAll) {
                    store(keys + count,
                          Lane::at(reinterpret_cast<const std::int32_t*>(value + part)));
                    count += Floats::kCount;
                    continue;
                }
                for (Index lane = 0; lane < Floats::kCount; ++lane) {
                    __builtin_memcpy(keys + count, value + part + lane, sizeof(float));
                    count += (chosen >> lane) & 1;
                }
            }
#endif
        }
    }
    const Index padded = (count + 4 * kLanes - 1) / (4 * kLanes) * (4 * kLanes);
    for (Index i = 0; i < count; ++i) keys[i] = key_of(keys[i]);
    for (Index i = count; i < padded; ++i) keys[i] = INT32_MAX;
    return count;
}

// `padded` is a multiple of four times kLanes.
DSNET_INLINE Index count_up_to(const std::int32_t* keys, Index padded, std::int32_t limit) {
    WholeVector counts[4] = {};
    for (Index i = 0; i < padded; i += 4 * Lane::kCount)
        for (int k = 0; k < 4; ++k) counts[k] -= Lane::at(keys + i + k * Lane::kCount) <= limit;
    const WholeVector sum = (counts[0] + counts[1]) + (counts[2] + counts[3]);
    std::int32_t count = 0;
    for (int lane = 0; lane < Lane::kCount; ++lane) count += sum[lane];
    return count;
}

void select(const std::int32_t* keys, std::ptrdiff_t count, std::ptrdiff_t rank, float found[2]) {
    const Index padded = (count + 4 * kLanes - 1) / (4 * kLanes) * (4 * kLanes);
    std::int32_t low = INT32_MAX, high = INT32_MIN;
    for (Index i = 0; i < count; ++i) {
        low = keys[i] < low ? keys[i] : low;
        high = keys[i] > high ? keys[i] : high;
    }
    // The key lies within low and high; `below_low` keys lie below low, `up_to_high` not above
    // high.
    Index below_low = 0, up_to_high = count;
    for (int turn = 0; low < high && up_to_high != rank + 1; ++turn) {
        // Where it would lie if they were spread evenly, and every third time halfway.
        const auto share = turn % 3 == 2 ? 0.5
                                         : (static_cast<double>(rank - below_low) + 0.5) /
                                               static_cast<double>(up_to_high - below_low);
        const std::int64_t span = std::int64_t{high} - low;
        const auto step = static_cast<std::int64_t>(share * static_cast<double>(span));
        const auto middle = static_cast<std::int32_t>(low + (step < span ? step : span - 1));
        const Index below = count_up_to(keys, padded, middle);
        if (below > rank) {
            high = middle;
            up_to_high = below;
        } else {
            low = middle + 1;
            below_low = below;
        }
    }
    // Exactly the `rank` and the one sought lie up to high: it is their highest.
    WholeVector at_most = Lane::all(INT32_MIN), above = Lane::all(INT32_MAX);
    for (Index i = 0; i < padded; i += Lane::kCount) {
        const WholeVector key = Lane::at(keys + i);
        const WholeVector lower = key <= high ? key : Lane::all(INT32_MIN);
        const WholeVector higher = key <= high ? Lane::all(INT32_MAX) : key;
        at_most = at_most > lower ? at_most : lower;
        above = above < higher ? above : higher;
    }
    std::int32_t at = INT32_MIN, next = INT32_MAX;
    for (int lane = 0; lane < Lane::kCount; ++lane) {
        at = at_most[lane] > at ? at_most[lane] : at;
        next = above[lane] < next ? above[lane] : next;
    }
    if (up_to_high > rank + 1 || rank + 1 == count) next = at;
    at = key_of(at);
    next = key_of(next);
    __builtin_memcpy(&found[0], &at, sizeof(float));
    __builtin_memcpy(&found[1], &next, sizeof(float));
}

}  // namespace

extern const OrderSimd order_simd;
const OrderSimd order_simd = {&collect, &select};

}  // namespace dsnet::DSNET_UNIT
