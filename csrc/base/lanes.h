// Loops over the blocks of a run, for vector sources.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "base/vector_unit.h"

#if defined(__clang__)
#define DSNET_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#define DSNET_INLINE inline __attribute__((always_inline))
#elif defined(__GNUC__)
#define DSNET_INDEPENDENT _Pragma("GCC ivdep")
#define DSNET_INLINE inline __attribute__((always_inline))
#else
#define DSNET_INDEPENDENT
#define DSNET_INLINE inline
#endif

namespace dsnet {

// Columns `begin` to `end` of a row that are worked on; both are multiples of a block's columns,
// kLanes or half of them.
struct Run {
    std::int32_t row;
    std::int32_t begin;
    std::int32_t end;
};

struct Runs {
    const Run* first;
    std::ptrdiff_t count;
};

// Rows `top` to `bottom` of the columns `left` to `right`, which are a block's, where a loop goes
// down.
struct Shaft {
    std::int32_t left;
    std::int32_t right;
    std::int32_t top;
    std::int32_t bottom;
};

struct Shafts {
    const Shaft* first;
    std::ptrdiff_t count;
};

namespace DSNET_UNIT {

// Vectors as wide as the unit's registers. GCC keeps wider ones in memory, and compares and chooses
// their lanes one by one.
#if defined(__AVX512F__)
inline constexpr std::ptrdiff_t kVectorBytes = 64;
#elif defined(__AVX__)
inline constexpr std::ptrdiff_t kVectorBytes = 32;
#else
inline constexpr std::ptrdiff_t kVectorBytes = 16;
#endif

typedef float FloatVector __attribute__((vector_size(kVectorBytes)));
typedef double DoubleVector __attribute__((vector_size(kVectorBytes)));
typedef std::int32_t WholeVector __attribute__((vector_size(kVectorBytes)));
typedef std::uint8_t ByteVector __attribute__((vector_size(kVectorBytes)));
// As many float32 as there are float64 in a vector.
typedef float HalfVector __attribute__((vector_size(kVectorBytes / 2)));

// kLanes pixels whatever the unit.
typedef float Vector __attribute__((vector_size(sizeof(float) * kLanes)));

// A vector at any address.
template <typename V>
struct Unaligned {
    typedef V Type __attribute__((aligned(1), may_alias));
};
template <typename V, typename T>
DSNET_INLINE V load_as(const T* from) {
    return *reinterpret_cast<const typename Unaligned<V>::Type*>(from);
}
template <typename V, typename T>
DSNET_INLINE void store(T* to, V v) {
    static_assert(sizeof(v[0]) == sizeof(T), "a vector goes where its elements belong");
    *reinterpret_cast<typename Unaligned<V>::Type*>(to) = v;
}

DSNET_INLINE Vector load(const float* from) { return load_as<Vector>(from); }
DSNET_INLINE Vector all(float value) { return Vector{} + value; }

// From float32 to float64 and back GCC goes by halves or by lanes; its headers warn of their own
// AVX-512 forms without a mask.
#if defined(__AVX512F__)
DSNET_INLINE HalfVector narrowed(DoubleVector v) {
    return HalfVector(_mm512_maskz_cvtpd_ps(0xff, __m512d(v)));
}
DSNET_INLINE DoubleVector widened(HalfVector v) {
    return DoubleVector(_mm512_maskz_cvtps_pd(0xff, __m256(v)));
}
#elif defined(__AVX__)
DSNET_INLINE HalfVector narrowed(DoubleVector v) { return HalfVector(_mm256_cvtpd_ps(__m256d(v))); }
DSNET_INLINE DoubleVector widened(HalfVector v) { return DoubleVector(_mm256_cvtps_pd(__m128(v))); }
#elif defined(__SSE2__)
DSNET_INLINE HalfVector narrowed(DoubleVector v) {
    HalfVector out;
    _mm_storel_pi(reinterpret_cast<__m64*>(&out), _mm_cvtpd_ps(__m128d(v)));
    return out;
}
DSNET_INLINE DoubleVector widened(HalfVector v) {
    const __m128i two = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(&v));
    return DoubleVector(_mm_cvtps_pd(_mm_castsi128_ps(two)));
}
#elif defined(__aarch64__)
DSNET_INLINE HalfVector narrowed(DoubleVector v) {
    return HalfVector(vcvt_f32_f64(float64x2_t(v)));
}
DSNET_INLINE DoubleVector widened(HalfVector v) {
    return DoubleVector(vcvt_f64_f32(float32x2_t(v)));
}
#else
DSNET_INLINE HalfVector narrowed(DoubleVector v) { return __builtin_convertvector(v, HalfVector); }
DSNET_INLINE DoubleVector widened(HalfVector v) { return __builtin_convertvector(v, DoubleVector); }
#endif

// As many values as one loop step takes; float32 planes can be read as float64.
template <typename T>
struct Lanes;
template <>
struct Lanes<float> {
    typedef FloatVector Values;
    static constexpr std::ptrdiff_t kCount = kVectorBytes / sizeof(float);
    static DSNET_INLINE Values at(const float* from) { return load_as<Values>(from); }
    static DSNET_INLINE Values all(float value) { return Values{} + value; }
};
template <>
struct Lanes<double> {
    typedef DoubleVector Values;
    static constexpr std::ptrdiff_t kCount = kVectorBytes / sizeof(double);
    static DSNET_INLINE Values at(const float* from) { return widened(load_as<HalfVector>(from)); }
    static DSNET_INLINE Values at(const double* from) { return load_as<Values>(from); }
    static DSNET_INLINE Values all(double value) { return Values{} + value; }
};
template <>
struct Lanes<std::int32_t> {
    typedef WholeVector Values;
    static constexpr std::ptrdiff_t kCount = kVectorBytes / sizeof(std::int32_t);
    static DSNET_INLINE Values at(const std::int32_t* from) { return load_as<Values>(from); }
    static DSNET_INLINE Values all(std::int32_t value) { return Values{} + value; }
};

template <>
struct Lanes<std::uint8_t> {
    typedef ByteVector Values;
    static constexpr std::ptrdiff_t kCount = kVectorBytes;
    static DSNET_INLINE Values at(const std::uint8_t* from) { return load_as<Values>(from); }
    static DSNET_INLINE Values all(std::uint8_t value) { return Values{} + value; }
};

// The lanes of a reduction, as many on every unit, in the unit's vectors.
template <typename T, std::ptrdiff_t Count = kLanes * sizeof(float) / sizeof(T)>
struct Reduction {
    static constexpr std::ptrdiff_t kCount = Count;
    static constexpr int kParts = Count / Lanes<T>::kCount;
    typename Lanes<T>::Values part[kParts] = {};

    // Calls body(vector, number of its first lane) for each of them.
    template <typename Body>
    DSNET_INLINE void each(Body body) {
        each(body, std::make_integer_sequence<int, kParts>{});
    }
    template <typename Body, int... K>
    DSNET_INLINE void each(Body body, std::integer_sequence<int, K...>) {
        (body(part[K], K * Lanes<T>::kCount), ...);
    }

    DSNET_INLINE T operator[](std::ptrdiff_t lane) const {
        return part[lane / Lanes<T>::kCount][lane % Lanes<T>::kCount];
    }
};

// Calls body(i, lane) for i from begin to end, a multiple of kLanes apart; the calls must not
// depend on each other.
template <typename Body>
DSNET_INLINE void each_lane(std::ptrdiff_t begin, std::ptrdiff_t end, Body body) {
    for (std::ptrdiff_t block = begin; block < end; block += kLanes) {
        DSNET_INDEPENDENT
        for (std::ptrdiff_t lane = 0; lane < kLanes; ++lane) body(block + lane, lane);
    }
}

// The same over the flat indices of all runs of a grid.
template <typename Body>
DSNET_INLINE void each_lane(const Runs& runs, std::ptrdiff_t stride, Body body) {
    for (const Run* run = runs.first; run != runs.first + runs.count; ++run)
        each_lane(run->row * stride + run->begin, run->row * stride + run->end, body);
}

template <typename T>
DSNET_INLINE T sum_of_lanes(const T (&lanes)[kLanes]) {
    T total = 0;
    for (std::ptrdiff_t lane = 0; lane < kLanes; ++lane) total += lanes[lane];
    return total;
}

template <typename T, std::ptrdiff_t Count>
DSNET_INLINE T sum_of_lanes(const Reduction<T, Count>& lanes) {
    T total = 0;
    for (std::ptrdiff_t lane = 0; lane < Count; ++lane) total += lanes[lane];
    return total;
}

}  // namespace DSNET_UNIT
}  // namespace dsnet
