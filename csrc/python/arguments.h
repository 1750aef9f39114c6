// What the bindings share: arguments checked and named in errors.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "base/image.h"

namespace dsnet {

namespace py = pybind11;

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

inline std::string shape_text(const py::array& array) {
    return py::str(array.attr("shape")).cast<std::string>();
}

inline bool is_aligned(const py::object& array) {
    return py::reinterpret_borrow<py::array>(array).flags() &
           py::detail::npy_api::NPY_ARRAY_ALIGNED_;
}

// The argument as a C-contiguous two-dimensional array; its dtype must be one of `allowed`.
template <typename T>
Array<T> image_argument(const py::object& value, const char* name, const char* kinds,
                        const char* allowed) {
    if (!py::isinstance<py::array>(value))
        throw py::type_error(std::string(name) + " must be a NumPy array of " + allowed + ", got " +
                             py::str(py::type::of(value).attr("__name__")).cast<std::string>());
    auto array = py::reinterpret_borrow<py::array>(value);
    const py::dtype dtype = array.dtype();
    const bool known = std::string(kinds).find(dtype.kind()) != std::string::npos &&
                       dtype.itemsize() == static_cast<py::ssize_t>(sizeof(T)) &&
                       dtype.attr("isnative").cast<bool>();
    if (!known)
        throw py::type_error(std::string(name) + " must have dtype " + allowed + ", got " +
                             py::str(dtype).cast<std::string>());
    if (array.ndim() != 2)
        throw py::value_error(std::string(name) + " must have two dimensions [H, W], got shape " +
                              shape_text(array));
    if (dtype.kind() == 'b') array = array.attr("view")("uint8");
    // Code that was compiled to vectors may fault on floats at odd addresses.
    if (!is_aligned(array))
        array = array.attr("copy")().cast<py::array>();
    return Array<T>::ensure(array);
}

// An array of just this dtype and shape, as it lies: neither converted nor copied.
template <typename T>
Array<T> shaped_argument(const py::object& value, const char* name, const char* dtype,
                         std::initializer_list<py::ssize_t> shape) {
    if (!py::isinstance<Array<T>>(value) || !is_aligned(value))
        throw py::type_error(std::string(name) + " must be a contiguous " + dtype + " array");
    auto array = py::reinterpret_borrow<Array<T>>(value);
    bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
    py::ssize_t axis = 0;
    for (const py::ssize_t wanted : shape) fits = fits && array.shape(axis++) == wanted;
    if (!fits)
        throw py::value_error(std::string(name) + " has another shape than images need, got " +
                              shape_text(array));
    return array;
}

inline Array<std::uint8_t> mask_argument(const py::object& value) {
    return image_argument<std::uint8_t>(value, "mask", "bu", "bool or uint8");
}

template <typename T>
Image<const T> view(const Array<T>& array) {
    return {array.data(), array.shape(0), array.shape(1)};
}

}  // namespace dsnet
