// The choice of a vector unit, which each module makes for its own copy of the core.
#pragma once

#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "base/vector_unit.h"
#include "python/arguments.h"

namespace dsnet {

inline std::vector<std::string> vector_units() {
    std::vector<std::string> names;
    for (int unit = 0; unit < kVectorUnits; ++unit)
        if (has_vector_unit(static_cast<VectorUnit>(unit)))
            names.emplace_back(vector_unit_name(static_cast<VectorUnit>(unit)));
    return names;
}

inline void use_vector_unit_named(const std::string& name) {
    for (int unit = 0; unit < kVectorUnits; ++unit) {
        const auto candidate = static_cast<VectorUnit>(unit);
        if (name == vector_unit_name(candidate) && has_vector_unit(candidate))
            return use_vector_unit(candidate);
    }
    throw py::value_error("name must be one of " +
                          py::str(py::cast(vector_units())).cast<std::string>() + ", got " +
                          py::repr(py::str(name)).cast<std::string>());
}

inline void bind_vector_units(py::module_& module) {
    using namespace pybind11::literals;
    module.def("vector_units", &vector_units,
               "Names of the vector units that this machine has, narrowest first.");
    module.def("use_vector_unit", &use_vector_unit_named, "name"_a,
               R"(Run on this vector unit from now on; all give the same bits.

Raises
------
ValueError
    If the machine has no unit of that name.)");
}

}  // namespace dsnet
