// Loops over the blocks of a run, for vector sources.
#pragma once

#include <cstddef>
#include <cstdint>

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

// Columns `begin` to `end` of a row that are worked on; both are multiples of kLanes.
struct Run {
    std::int32_t row;
    std::int32_t begin;
    std::int32_t end;
};

struct Runs {
    const Run* first;
    std::ptrdiff_t count;
};

// Rows `top` to `bottom` of the kLanes columns from `left` on, where a loop goes down.
struct Shaft {
    std::int32_t left;
    std::int32_t top;
    std::int32_t bottom;
};

struct Shafts {
    const Shaft* first;
    std::ptrdiff_t count;
};

namespace DSNET_UNIT {

// One lane a pixel, where the compiler must not be left to choose; it splits them on a narrower
// unit.
typedef float Vector __attribute__((vector_size(sizeof(float) * kLanes)));
typedef float UnalignedVector
    __attribute__((vector_size(sizeof(float) * kLanes), aligned(sizeof(float)), may_alias));

typedef double DoubleVector __attribute__((vector_size(sizeof(double) * kLanes / 2)));
typedef float HalfVector __attribute__((vector_size(sizeof(float) * kLanes / 2)));
typedef double UnalignedDoubleVector
    __attribute__((vector_size(sizeof(double) * kLanes / 2), aligned(sizeof(double)), may_alias));
typedef float UnalignedHalfVector
    __attribute__((vector_size(sizeof(float) * kLanes / 2), aligned(sizeof(float)), may_alias));

DSNET_INLINE Vector load(const float* from) {
    return *reinterpret_cast<const UnalignedVector*>(from);
}
DSNET_INLINE void store(float* to, Vector v) { *reinterpret_cast<UnalignedVector*>(to) = v; }
DSNET_INLINE void store(float* to, HalfVector v) {
    *reinterpret_cast<UnalignedHalfVector*>(to) = v;
}
DSNET_INLINE void store(double* to, DoubleVector v) {
    *reinterpret_cast<UnalignedDoubleVector*>(to) = v;
}
DSNET_INLINE Vector all(float value) { return Vector{} + value; }
DSNET_INLINE HalfVector narrowed(DoubleVector v) { return __builtin_convertvector(v, HalfVector); }
DSNET_INLINE DoubleVector widened(HalfVector v) { return __builtin_convertvector(v, DoubleVector); }

// As many values as one loop step takes, 64 bytes of them; float32 planes can be read as float64.
template <typename T>
struct Lanes;
template <>
struct Lanes<float> {
    typedef Vector Values;
    static constexpr std::ptrdiff_t kCount = kLanes;
    static DSNET_INLINE Vector at(const float* from) { return load(from); }
};
template <>
struct Lanes<double> {
    typedef DoubleVector Values;
    static constexpr std::ptrdiff_t kCount = kLanes / 2;
    static DSNET_INLINE DoubleVector at(const float* from) {
        return widened(*reinterpret_cast<const UnalignedHalfVector*>(from));
    }
    static DSNET_INLINE DoubleVector at(const double* from) {
        return *reinterpret_cast<const UnalignedDoubleVector*>(from);
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

DSNET_INLINE double sum_of_lanes(DoubleVector lanes) {
    double total = 0;
    for (std::ptrdiff_t lane = 0; lane < kLanes / 2; ++lane) total += lanes[lane];
    return total;
}

}  // namespace DSNET_UNIT
}  // namespace dsnet
