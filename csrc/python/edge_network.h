// The edge model's weights as a Python class.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "edge/curve.h"
#include "python/arguments.h"

namespace dsnet {

inline EdgeNetwork make_network(const py::object& weight1, const py::object& bias1,
                                const py::object& weight2, const py::object& bias2,
                                const py::object& weight3, const py::object& bias3) {
    EdgeNetwork network;
    const auto copy = [](const py::object& from, const char* name, float* to,
                         std::initializer_list<py::ssize_t> shape) {
        const auto array = shaped_argument<float>(from, name, "float32", shape);
        std::copy_n(array.data(), array.size(), to);
    };
    copy(weight1, "weight1", &network.weight1[0][0], {kHidden, kFeatures});
    copy(bias1, "bias1", network.bias1, {kHidden});
    copy(weight2, "weight2", &network.weight2[0][0], {kHidden, kHidden});
    copy(bias2, "bias2", network.bias2, {kHidden});
    copy(weight3, "weight3", network.weight3, {1, kHidden});
    copy(bias3, "bias3", &network.bias3, {1});
    return network;
}

// `extra`: how pybind11 shall know the class.
template <typename... Extra>
void bind_edge_network(py::module_& module, const Extra&... extra) {
    using namespace pybind11::literals;
    py::class_<EdgeNetwork>(module, "EdgeNetwork", extra...,
                            R"(The edge model's weights on the features as they are.

Parameters
----------
weight1, bias1 : float32 [20, 18], [20]
weight2, bias2 : float32 [20, 20], [20]
weight3, bias3 : float32 [1, 20], [1]

Raises
------
TypeError
    If an argument is not a contiguous float32 array.
ValueError
    If one has another shape.)")
        .def(py::init(&make_network), "weight1"_a, "bias1"_a, "weight2"_a, "bias2"_a, "weight3"_a,
             "bias3"_a);
}

}  // namespace dsnet
