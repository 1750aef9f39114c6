#include "base/vector_unit.h"

#include <atomic>

namespace dsnet {
namespace {

VectorUnit widest() {
    for (int unit = kVectorUnits - 1; unit > 0; --unit)
        if (has_vector_unit(static_cast<VectorUnit>(unit))) return static_cast<VectorUnit>(unit);
    return VectorUnit::kBaseline;
}

// Not a static in a function, whose lock a forked process would find held for ever.
std::atomic<VectorUnit> chosen{widest()};

}  // namespace

const char* vector_unit_name(VectorUnit unit) {
    constexpr const char* kNames[kVectorUnits] = {"baseline", "avx2", "avx512"};
    return kNames[static_cast<int>(unit)];
}

bool has_vector_unit(VectorUnit unit) {
    if (unit == VectorUnit::kBaseline) return true;
#if DSNET_HAS_VECTOR_UNITS
    // What the compiler may use under -march=x86-64-v3 and -v4.
    __builtin_cpu_init();
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                    __builtin_cpu_supports("popcnt");
    if (unit == VectorUnit::kAvx2) return v3;
    return v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
#else
    return false;
#endif
}

VectorUnit vector_unit() { return chosen.load(std::memory_order_relaxed); }

void use_vector_unit(VectorUnit unit) { chosen.store(unit, std::memory_order_relaxed); }

}  // namespace dsnet
