// Loops over the blocks of a run, for vector sources.
#pragma once

#include <cstddef>
#include <cstdint>

#include "vector_unit.h"

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

namespace DSNET_UNIT {

// One lane a pixel, where the compiler must not be left to choose; it splits them on a narrower unit.
typedef float Vector __attribute__((vector_size(sizeof(float) * kLanes)));
typedef float UnalignedVector
    __attribute__((vector_size(sizeof(float) * kLanes), aligned(sizeof(float)), may_alias));

DSNET_INLINE Vector load(const float* from) {
    return *reinterpret_cast<const UnalignedVector*>(from);
}
DSNET_INLINE void store(float* to, Vector v) { *reinterpret_cast<UnalignedVector*>(to) = v; }
DSNET_INLINE Vector all(float value) { return Vector{} + value; }

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
DSNET_INLINE T sum_of_lanes(const T* lanes) {
    T total = 0;
    for (std::ptrdiff_t lane = 0; lane < kLanes; ++lane) total += lanes[lane];
    return total;
}

}  // namespace DSNET_UNIT
}  // namespace dsnet
