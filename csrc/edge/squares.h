// Values between those of a plane, a vector of places at a time, for vector sources. Included below
// base/lanes.h, whose unit it takes, and edge/pixel.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "edge/pixel.h"

namespace dsnet::DSNET_UNIT {

constexpr std::ptrdiff_t kPlaces = Lanes<float>::kCount;

#if defined(__SSE2__)
// What lies at two places of a plane, and right of each.
DSNET_INLINE __m128 two_pairs(const float* from, const std::int32_t* at) {
    const auto* const first = reinterpret_cast<const __m128i*>(from + at[0]);
    return _mm_loadh_pi(_mm_castsi128_ps(_mm_loadl_epi64(first)),
                        reinterpret_cast<const __m64*>(from + at[1]));
}
#endif

// What lies at a vector of places, and right of each. Pairs of neighbours by loads of their own,
// since gathers are slow on many machines, and twice as many.
struct Neighbours {
    FloatVector here, right;

    DSNET_INLINE Neighbours(const float* from, const std::int32_t* at) {
#if defined(__AVX512F__)
        const auto four = [&](int k) {
            return _mm256_insertf128_ps(_mm256_castps128_ps256(two_pairs(from, at + k)),
                                        two_pairs(from, at + k + 4), 1);
        };
        const auto eight = [&](int k) {
            return _mm512_maskz_insertf32x8(0xffff, _mm512_castps256_ps512(four(k)), four(k + 8),
                                            1);
        };
        const __m512 first = eight(0), second = eight(2);
        here = FloatVector(_mm512_maskz_shuffle_ps(0xffff, first, second, 0x88));
        right = FloatVector(_mm512_maskz_shuffle_ps(0xffff, first, second, 0xdd));
#elif defined(__AVX__)
        const auto four = [&](int k) {
            return _mm256_insertf128_ps(_mm256_castps128_ps256(two_pairs(from, at + k)),
                                        two_pairs(from, at + k + 4), 1);
        };
        const __m256 first = four(0), second = four(2);
        here = FloatVector(_mm256_shuffle_ps(first, second, 0x88));
        right = FloatVector(_mm256_shuffle_ps(first, second, 0xdd));
#elif defined(__SSE2__)
        const __m128 first = two_pairs(from, at), second = two_pairs(from, at + 2);
        here = FloatVector(_mm_shuffle_ps(first, second, 0x88));
        right = FloatVector(_mm_shuffle_ps(first, second, 0xdd));
#else
        for (std::ptrdiff_t k = 0; k < kPlaces; ++k) {
            here[k] = from[at[k]];
            right[k] = from[at[k] + 1];
        }
#endif
    }
};

// A plane of `rows` x `cols` values, which lie in squares of four. 32 bits number the values, of
// which there are at most kMostPixels.
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
          down_(rows > 1 ? stride : 0),
          narrow_(cols == 1) {}

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
        if (narrow_) return in_one_column(from, share_x, share_y);
        const Neighbours above(values_, from), below(values_ + down_, from);
        return mixed(mixed(above.here, above.right, share_x),
                     mixed(below.here, below.right, share_x), share_y);
    }

  private:
    // Where a value has no other beside it.
    DSNET_INLINE FloatVector in_one_column(const std::int32_t* from, FloatVector share_x,
                                           FloatVector share_y) const {
        FloatVector above, below;
        for (std::ptrdiff_t k = 0; k < kPlaces; ++k) {
            above[k] = values_[from[k]];
            below[k] = values_[from[k] + down_];
        }
        return mixed(mixed(above, above, share_x), mixed(below, below, share_x), share_y);
    }

    const float* values_;
    float last_x_, last_y_;
    std::int32_t most_x_, most_y_, stride_;
    std::ptrdiff_t down_;
    bool narrow_;
};

}  // namespace dsnet::DSNET_UNIT
