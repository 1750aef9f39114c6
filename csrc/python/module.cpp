// dsnet._C: checks arguments, releases the GIL, calls.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "python/arguments.h"
#include "max_flow.h"
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

// `source` gives the shape that the others must have.
Array<std::int32_t> capacity_argument(const py::object& value, const char* name,
                                      const Array<std::int32_t>* source) {
    auto array = image_argument<std::int32_t>(value, name, "i", "int32");
    if (source && (array.shape(0) != source->shape(0) || array.shape(1) != source->shape(1)))
        throw py::value_error(std::string(name) + " must have the shape of source, " +
                              shape_text(*source) + ", got " + shape_text(array));
    const std::int32_t* data = array.data();
    std::int32_t bits = 0;
    for (py::ssize_t i = 0; i < array.size(); ++i) bits |= data[i];
    if (bits < 0)
        throw py::value_error(std::string(name) + " must not be negative, got " +
                              py::str(array.attr("min")()).cast<std::string>());
    return array;
}

py::tuple grid_cut(const py::object& source_value, const py::object& sink_value,
                   const py::object& right_value, const py::object& down_value,
                   const py::object& down_right_value, const py::object& down_left_value) {
    const auto source = capacity_argument(source_value, "source", nullptr);
    const auto sink = capacity_argument(sink_value, "sink", &source);
    const auto right = capacity_argument(right_value, "right", &source);
    const auto down = capacity_argument(down_value, "down", &source);
    const auto down_right = capacity_argument(down_right_value, "down_right", &source);
    const auto down_left = capacity_argument(down_left_value, "down_left", &source);
    // Divided, not multiplied: the product may not fit.
    if (source.shape(0) + 2 > kMaxGridNodes / (source.shape(1) + 2))
        throw py::value_error("source must have fewer than 2**31 pixels, got shape " +
                              shape_text(source));
    Array<bool> mask({source.shape(0), source.shape(1)});
    static_assert(sizeof(bool) == 1, "the mask is written as bytes");
    const Image<std::uint8_t> side(reinterpret_cast<std::uint8_t*>(mask.mutable_data()),
                                   mask.shape(0), mask.shape(1));
    std::int64_t flow = 0;
    {
        py::gil_scoped_release release;
        flow = GridMaxFlow().solve({view(source), view(sink), view(right), view(down),
                                    view(down_right), view(down_left)},
                                   side);
    }
    return py::make_tuple(std::move(mask), flow);
}

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

    module.def("grid_cut", &dsnet::grid_cut, "source"_a, "sink"_a, "right"_a, "down"_a,
               "down_right"_a, "down_left"_a,
               R"(Exact minimum cut of an 8-connected grid.

Parameters
----------
source, sink : int32 [H, W]
    Capacities from the source to each pixel and from each pixel to the sink.
right, down, down_right, down_left : int32 [H, W]
    Capacities, the same both ways, between pixel (y, x) and (y, x + 1), (y + 1, x),
    (y + 1, x + 1) and (y + 1, x - 1). Entries that would leave the grid are ignored, but may not
    be negative.

Returns
-------
mask : bool [H, W]
    True on the source's side. Of all minimum cuts it is the one with the smallest source side
    (the pixels that the source still reaches in the residual graph), which is unique.
flow : int
    The maximum flow, equal to the cut's capacity.

Raises
------
TypeError
    If an argument is not an array of int32.
ValueError
    If an argument is not two-dimensional, has another shape than ``source``, or is negative
    somewhere; or if the grid has 2**31 pixels or more.

Notes
-----
Boykov and Kolmogorov, "An Experimental Comparison of Min-Cut/Max-Flow Algorithms for Energy
Minimization in Vision", 2004. Any capacities of int32 are safe: residuals are held in 32 unsigned
bits, the flow in 64.)");
}
