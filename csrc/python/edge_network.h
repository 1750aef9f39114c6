// The edge model's weights as a Python class.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>

#include "edge/curve.h"
#include "edge/tile_weights.h"
#include "python/arguments.h"

namespace dsnet {

inline EdgeNetwork make_network(const py::sequence& weights, const py::sequence& biases,
                                const py::object& shifts_value, const py::object& constants_value,
                                double log_odds_per_unit, const py::object& expected_value,
                                const py::object& margin_value) {
    EdgeNetwork network = {};
    const auto shifts =
        shaped_argument<std::int32_t>(shifts_value, "shifts", "int32", {kEdgeLayers});
    const auto constants = shaped_argument<double>(constants_value, "of_constants", "float64",
                                                   {kEdgeLayer[kEnter].outputs, kConstants});
    const auto refuse = [](const std::string& message) { throw py::value_error(message); };
    if (weights.size() != kEdgeLayers || biases.size() != kEdgeLayers)
        refuse("weights and biases must be of " + std::to_string(kEdgeLayers) + " layers, got " +
               std::to_string(weights.size()) + " and " + std::to_string(biases.size()));
    for (int layer = 0; layer < kEdgeLayers; ++layer) {
        const EdgeLayer shape = kEdgeLayer[layer];
        const std::string place = "[" + std::to_string(layer) + "]";
        const std::string weight_name = "weights" + place, bias_name = "biases" + place;
        const auto weight = shaped_argument<std::int16_t>(
            py::object(weights[static_cast<std::size_t>(layer)]), weight_name.c_str(), "int16",
            {shape.outputs, shape.inputs, shape.kernel, shape.kernel});
        const auto bias =
            shaped_argument<std::int32_t>(py::object(biases[static_cast<std::size_t>(layer)]),
                                          bias_name.c_str(), "int32", {shape.outputs});
        const std::int16_t* from = weight.data();
        std::int16_t* const to = network.weights + edge_weights_before(layer);
        for (int o = 0; o < shape.outputs; ++o) {
            std::int32_t sum = 0;
            for (int i = 0; i < shape.inputs; ++i) {
                for (int tap = 0; tap < shape.kernel * shape.kernel; ++tap, ++from) {
                    if (*from > kMostWeight || *from < -kMostWeight)
                        refuse(weight_name + " must be within +-" + std::to_string(kMostWeight) +
                               ", got " + std::to_string(*from));
                    to[((tap * (shape.inputs / 2) + i / 2) * shape.outputs + o) * 2 + i % 2] =
                        *from;
                    sum += std::abs(*from);
                }
            }
            if (sum >= kMostWeightSum)
                refuse(weight_name + " of an output must add up to less than " +
                       std::to_string(kMostWeightSum) + ", got " + std::to_string(sum));
        }
        std::copy_n(bias.data(), shape.outputs, network.bias + edge_outputs_before(layer));
        network.shift[layer] = shifts.data()[layer];
        if (network.shift[layer] < 0 || network.shift[layer] > 20)
            refuse("shifts must be within 0 and 20, got " + std::to_string(network.shift[layer]));
    }
    fill_tile_weights(network);
    std::copy_n(constants.data(), constants.size(), &network.of_constants[0][0]);
    network.log_odds_per_unit = static_cast<float>(log_odds_per_unit);
    const auto expected = shaped_argument<double>(expected_value, "expected_dice", "float64", {5});
    const auto margin =
        shaped_argument<double>(margin_value, "expected_dice_margin", "float64", {3});
    std::copy_n(expected.data(), 5, network.expected_dice);
    std::copy_n(margin.data(), 3, network.expected_dice_margin);
    for (int k = 0; k < kSteps; ++k) {
        const double middle = (k + 0.5) / double{kStepsPerLogOdd} - double{kCertain};
        network.probability[k] = static_cast<std::int32_t>(
            std::lround(double{kProbabilityUnits} / (1.0 + std::exp(-middle))));
    }
    return network;
}

// `extra`: how pybind11 shall know the class.
template <typename... Extra>
void bind_edge_network(py::module_& module, const Extra&... extra) {
    using namespace pybind11::literals;
    py::class_<EdgeNetwork>(module, "EdgeNetwork", extra...,
                            R"(The edge model's network, in whole numbers.

Parameters
----------
weights : sequence of 11 int16 [outputs, inputs, kernel, kernel]
    Within +-1023, of the layers in csrc/edge/network.h; the last one's outputs are padded to 16.
    The magnitudes of an output's weights add up to less than 262144.
biases : sequence of 11 int32 [outputs]
shifts : int32 [11]
of_constants : float64 [16, 5]
log_odds_per_unit : float
expected_dice, expected_dice_margin : float64 [5], [3]
    See csrc/edge/network.h.

Raises
------
TypeError
    If an argument is not a contiguous array of its dtype.
ValueError
    If one has another shape, or a number is out of range.)")
        .def(py::init(&make_network), "weights"_a, "biases"_a, "shifts"_a, "of_constants"_a,
             "log_odds_per_unit"_a, "expected_dice"_a, "expected_dice_margin"_a)
        .def_property_readonly(
            "bytes",
            [](const EdgeNetwork& network) {
                Array<std::uint8_t> bytes(static_cast<py::ssize_t>(sizeof(network)));
                std::memcpy(bytes.mutable_data(), &network, sizeof(network));
                return bytes;
            },
            "uint8 [EDGE_NETWORK_BYTES]: what a GPU is given.");
}

}  // namespace dsnet
