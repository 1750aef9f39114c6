// Values between those of a plane, a vector of places at a time, for vector sources. Included below
// base/lanes.h, whose unit it takes, and edge/pixel.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "edge/pixel.h"

namespace dsnet::DSNET_UNIT {

constexpr std::ptrdiff_t kPlaces = Lanes<float>::kCount;

// Two neighbours of a plane.
typedef double TwoFloats __attribute__((aligned(sizeof(float)), may_alias));

DSNET_INLINE double two_at(const float* from, std::int32_t at) {
    return *reinterpret_cast<const TwoFloats*>(from + at);
}

#if defined(__AVX__)
// Those from places 0, 1, 4 and 5. Repeated loads and blends, where inserts would wait for the one
// unit that shuffles.
DSNET_INLINE __m256d four_pairs(const float* from, const std::int32_t* at) {
    const auto load = [&](int k) { return _mm256_set1_pd(two_at(from, at[k])); };
    const __m256d low = _mm256_blend_pd(load(0), load(1), 0b1010);
    const __m256d high = _mm256_blend_pd(load(4), load(5), 0b1010);
    return _mm256_blend_pd(low, high, 0b1100);
}
#elif defined(__SSE2__)
DSNET_INLINE __m128 two_pairs(const float* from, const std::int32_t* at) {
    return _mm_castpd_ps(_mm_set_pd(two_at(from, at[1]), two_at(from, at[0])));
}
#endif

// Or else GCC takes a vector apart by shuffles rather than read its lanes from where it was stored.
DSNET_INLINE void keep_in_memory(std::int32_t (&values)[kPlaces]) {
#if defined(__GNUC__)
    __asm__("" : "+m"(values));
#endif
}

// What lies at a vector of places, and right of each. Pairs of neighbours by loads of their own,
// since gathers are slow on many machines, and twice as many.
template <bool kNarrow>
struct Neighbours {
    FloatVector here, right;

    DSNET_INLINE Neighbours(const float* from, const std::int32_t* at) {
        if (kNarrow) {
            one_by_one(from, at);
            return;
        }
#if defined(__AVX512F__)
        const auto eight = [&](int k) {
            return _mm512_castpd_ps(
                _mm512_maskz_insertf64x4(0xff, _mm512_castpd256_pd512(four_pairs(from, at + k)),
                                         four_pairs(from, at + k + 8), 1));
        };
        const __m512 first = eight(0), second = eight(2);
        here = FloatVector(_mm512_maskz_shuffle_ps(0xffff, first, second, 0x88));
        right = FloatVector(_mm512_maskz_shuffle_ps(0xffff, first, second, 0xdd));
#elif defined(__AVX__)
        const __m256 first = _mm256_castpd_ps(four_pairs(from, at));
        const __m256 second = _mm256_castpd_ps(four_pairs(from, at + 2));
        here = FloatVector(_mm256_shuffle_ps(first, second, 0x88));
        right = FloatVector(_mm256_shuffle_ps(first, second, 0xdd));
#elif defined(__SSE2__)
        const __m128 first = two_pairs(from, at), second = two_pairs(from, at + 2);
        here = FloatVector(_mm_shuffle_ps(first, second, 0x88));
        right = FloatVector(_mm_shuffle_ps(first, second, 0xdd));
#else
        one_by_one(from, at);
#endif
    }

  private:
    DSNET_INLINE void one_by_one(const float* from, const std::int32_t* at) {
        for (std::ptrdiff_t k = 0; k < kPlaces; ++k) {
            here[k] = from[at[k]];
            right[k] = from[at[k] + (kNarrow ? 0 : 1)];
        }
    }
};

// A plane of `rows` x `cols` values, which lie in squares of four. 32 bits number the values, of
// which there are at most kMostPixels. `kNarrow`: there is one column.
template <bool kNarrow>
class Squares {
  public:
    DSNET_INLINE Squares(const float* values, std::ptrdiff_t rows, std::ptrdiff_t cols,
                         std::ptrdiff_t stride)
        : values_(values),
          last_x_(float(cols - 1)),
          last_y_(float(rows - 1)),
          // The last value is the far side of the square before it.
          most_x_(cols > 1 ? std::int32_t(cols - 2) : 0),
          most_y_(rows > 1 ? std::int32_t(rows - 2) : 0),
          stride_(std::int32_t(stride)),
          down_(rows > 1 ? stride : 0) {}

    // The values at a vector of places, those outside being brought to the rim.
    DSNET_INLINE FloatVector at(Point<FloatVector> place) const {
        const FloatVector x = within(place.x, 0.0f, last_x_), y = within(place.y, 0.0f, last_y_);
        const WholeVector whole_x = __builtin_convertvector(x, WholeVector);
        const WholeVector whole_y = __builtin_convertvector(y, WholeVector);
        const WholeVector from_x = lesser_of(whole_x, WholeVector{} + most_x_);
        const WholeVector from_y = lesser_of(whole_y, WholeVector{} + most_y_);
        const FloatVector share_x = x - __builtin_convertvector(from_x, FloatVector);
        const FloatVector share_y = y - __builtin_convertvector(from_y, FloatVector);
        alignas(64) std::int32_t from[kPlaces];
        store(from, from_y * stride_ + from_x);
        keep_in_memory(from);
        const Neighbours<kNarrow> above(values_, from), below(values_ + down_, from);
        return mixed(mixed(above.here, above.right, share_x),
                     mixed(below.here, below.right, share_x), share_y);
    }

  private:
    const float* values_;
    float last_x_, last_y_;
    std::int32_t most_x_, most_y_, stride_;
    std::ptrdiff_t down_;
};

}  // namespace dsnet::DSNET_UNIT
