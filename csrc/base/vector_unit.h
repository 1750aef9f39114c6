// Which vector unit the hot loops run on.
//
// Sources called *simd.cpp are compiled once for each unit, with DSNET_UNIT as the namespace of
// what they define, and reached through a table of functions that is picked at run time. Their
// loops give the same bits on every unit: products and sums are not fused, and a reduction runs
// over kLanes fixed lanes. Such a source must use nothing of the standard library that is not
// inlined for certain (no containers, no algorithms): the linker could take the copy compiled for
// the widest unit for the whole program.
#pragma once

#include <cstddef>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define DSNET_HAS_VECTOR_UNITS 1
#else
#define DSNET_HAS_VECTOR_UNITS 0
#endif

#ifndef DSNET_UNIT
#define DSNET_UNIT baseline
#endif

namespace dsnet {

// Lanes of a reduction, and the multiple to which rows of work buffers are padded: 64 bytes of
// float32.
inline constexpr std::ptrdiff_t kLanes = 16;

enum class VectorUnit { kBaseline, kAvx2, kAvx512 };
inline constexpr int kVectorUnits = 3;

const char* vector_unit_name(VectorUnit unit);
bool has_vector_unit(VectorUnit unit);
// The widest that this machine has, unless `use_vector_unit` chose another.
VectorUnit vector_unit();
// Call it while nothing else runs; `unit` must be one that the machine has.
void use_vector_unit(VectorUnit unit);

// `baseline`, `avx2` and `avx512` define `const Type table`, each compiled for its unit.
#if DSNET_HAS_VECTOR_UNITS
#define DSNET_VECTOR_TABLE(Type, table)                     \
    namespace baseline {                                    \
    extern const Type table;                                \
    }                                                       \
    namespace avx2 {                                        \
    extern const Type table;                                \
    }                                                       \
    namespace avx512 {                                      \
    extern const Type table;                                \
    }                                                       \
    inline const Type& table() {                            \
        switch (vector_unit()) {                            \
            case VectorUnit::kAvx512: return avx512::table; \
            case VectorUnit::kAvx2: return avx2::table;     \
            default: return baseline::table;                \
        }                                                   \
    }
#else
#define DSNET_VECTOR_TABLE(Type, table) \
    namespace baseline {                \
    extern const Type table;            \
    }                                   \
    inline const Type& table() { return baseline::table; }
#endif

}  // namespace dsnet
