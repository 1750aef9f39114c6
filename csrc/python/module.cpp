// dsnet._C: checks arguments, releases the GIL, calls.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "python/arguments.h"
#include "base/vector_unit.h"

namespace dsnet {

void bind_arrays(py::module_& module);
void bind_batch(py::module_& module);
void bind_cuda(py::module_& module);
void bind_cuda_cut(py::module_& module);
void bind_cut(py::module_& module);
void bind_cut_block(py::module_& module);
void bind_dlpack(py::module_& module);
void bind_matting(py::module_& module);
void bind_matting_block(py::module_& module);
void bind_morphology(py::module_& module);
void bind_morphology_block(py::module_& module);
void bind_quality(py::module_& module);
void bind_stages(py::module_& module);

namespace {

std::vector<std::string> vector_units() {
    std::vector<std::string> names;
    for (int unit = 0; unit < kVectorUnits; ++unit)
        if (has_vector_unit(static_cast<VectorUnit>(unit)))
            names.emplace_back(vector_unit_name(static_cast<VectorUnit>(unit)));
    return names;
}

void use_vector_unit_binding(const std::string& name) {
    for (int unit = 0; unit < kVectorUnits; ++unit) {
        const auto candidate = static_cast<VectorUnit>(unit);
        if (name == vector_unit_name(candidate) && has_vector_unit(candidate))
            return use_vector_unit(candidate);
    }
    throw py::value_error("name must be one of " +
                          py::str(py::cast(vector_units())).cast<std::string>() + ", got " +
                          py::repr(py::str(name)).cast<std::string>());
}

py::dict build_info() {
    py::dict info;
#if defined(__clang__)
    info["compiler"] = "Clang " __clang_version__;
#elif defined(__GNUC__)
    info["compiler"] = "GCC " __VERSION__;
#else
    info["compiler"] = "unknown";
#endif
    info["cplusplus"] = static_cast<long>(__cplusplus);
#ifdef NDEBUG
    info["build_type"] = "Release";
#else
    info["build_type"] = "Debug";
#endif
    info["cuda"] = DSNET_WITH_CUDA != 0;
    info["sanitizers"] = DSNET_SANITIZE;
    info["vector_unit"] = vector_unit_name(vector_unit());
    info["pybind11"] = PYBIND11_TOSTRING(PYBIND11_VERSION_MAJOR) "." PYBIND11_TOSTRING(
        PYBIND11_VERSION_MINOR) "." PYBIND11_TOSTRING(PYBIND11_VERSION_PATCH);
    return info;
}

}  // namespace
}  // namespace dsnet

PYBIND11_MODULE(_C, module) {
    using namespace pybind11::literals;
    module.doc() = "Compiled core of dsnet: exact morphology and the grid graph cut.";

    dsnet::bind_arrays(module);
    dsnet::bind_batch(module);
    dsnet::bind_cuda(module);
    dsnet::bind_cuda_cut(module);
    dsnet::bind_cut(module);
    dsnet::bind_cut_block(module);
    dsnet::bind_dlpack(module);
    dsnet::bind_matting(module);
    dsnet::bind_matting_block(module);
    dsnet::bind_morphology(module);
    dsnet::bind_morphology_block(module);
    dsnet::bind_quality(module);
    dsnet::bind_stages(module);
    module.def("build_info", &dsnet::build_info, "What was compiled, as a dict.");

    module.def("vector_units", &dsnet::vector_units,
               "Names of the vector units that this machine has, narrowest first.");
    module.def("use_vector_unit", &dsnet::use_vector_unit_binding, "name"_a,
               R"(Run on this vector unit from now on; for tests, since all give the same bits.

Raises
------
ValueError
    If the machine has no unit of that name.)");
}
