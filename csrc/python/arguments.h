// What the bindings share: arguments checked and named in errors.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>

#include "base/image.h"
#include "mark/recist.h"
#include "masks/bits.h"

namespace dsnet {

namespace py = pybind11;

template <typename T>
using Array = py::array_t<T, py::array::c_style>;

inline std::string shape_text(const py::array& array) {
    return py::str(array.attr("shape")).cast<std::string>();
}

inline std::string repr_text(const py::handle& value) {
    return py::repr(value).cast<std::string>();
}

// What came, where no array of the right kind did.
inline std::string kind_text(const py::object& value) {
    if (!py::isinstance<py::array>(value))
        return py::str(py::type::of(value).attr("__name__")).cast<std::string>();
    const auto array = py::reinterpret_borrow<py::array>(value);
    const bool contiguous = array.flags() & py::array::c_style;
    return (contiguous ? "" : "strided ") + py::str(array.dtype()).cast<std::string>() +
           " array of shape " + shape_text(array);
}

inline bool is_aligned(const py::object& array) {
    return py::reinterpret_borrow<py::array>(array).flags() &
           py::detail::npy_api::NPY_ARRAY_ALIGNED_;
}

// Of the last two axes, before anything is read or copied.
inline void check_pixels(const py::array& array, const char* name) {
    const std::int64_t rows = array.shape(array.ndim() - 2), cols = array.shape(array.ndim() - 1);
    if (cols > 0 && rows > kMostPixels / cols)
        throw py::value_error(std::string(name) + " must have at most " +
                              std::to_string(kMostPixels) + " pixels, got shape " +
                              shape_text(array));
}

// The argument as a C-contiguous two-dimensional array; its dtype must be one of `allowed`.
template <typename T>
Array<T> image_argument(const py::object& value, const char* name, const char* kinds,
                        const char* allowed) {
    if (!py::isinstance<py::array>(value))
        throw py::type_error(std::string(name) + " must be a NumPy array of " + allowed + ", got " +
                             kind_text(value));
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
    check_pixels(array, name);
    if (dtype.kind() == 'b') array = array.attr("view")("uint8");
    // Code that was compiled to vectors may fault on floats at odd addresses.
    if (!is_aligned(array)) array = array.attr("copy")().cast<py::array>();
    return Array<T>::ensure(array);
}

// An array as it lies, neither converted nor copied: C-contiguous and of just this dtype.
template <typename T>
Array<T> plain_argument(const py::object& value, const char* name, const char* dtype) {
    if (!py::isinstance<Array<T>>(value) || !is_aligned(value))
        throw py::type_error(std::string(name) + " must be a contiguous " + dtype + " array, got " +
                             kind_text(value));
    return py::reinterpret_borrow<Array<T>>(value);
}

// That, and of just this shape.
template <typename T>
Array<T> shaped_argument(const py::object& value, const char* name, const char* dtype,
                         std::initializer_list<py::ssize_t> shape) {
    auto array = plain_argument<T>(value, name, dtype);
    bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
    py::ssize_t axis = 0;
    for (const py::ssize_t wanted : shape) fits = fits && array.shape(axis++) == wanted;
    if (!fits) {
        py::list wanted;
        for (const py::ssize_t size : shape) wanted.append(size);
        throw py::value_error(std::string(name) + " must have shape " +
                              repr_text(py::tuple(wanted)) + ", got " + shape_text(array));
    }
    return array;
}

// A batch of images as it lies, with the shape of another where there is one.
template <typename T>
Array<T> batch_argument(const py::object& value, const char* name, const char* dtype,
                        const py::array* like = nullptr) {
    auto array = plain_argument<T>(value, name, dtype);
    if (array.ndim() != 3 || array.shape(1) < 1 || array.shape(2) < 1)
        throw py::value_error(std::string(name) + " must be [N, H, W] with H, W >= 1, got shape " +
                              shape_text(array));
    check_pixels(array, name);
    for (int axis = 0; like != nullptr && axis < 3; ++axis)
        if (array.shape(axis) != like->shape(axis))
            throw py::value_error(std::string(name) + " must have shape " + shape_text(*like) +
                                  ", got " + shape_text(array));
    return array;
}

inline void require_writable(const py::array& array, const char* name) {
    if (!array.writeable())
        throw py::value_error(std::string(name) + " must be writable, got a read-only array");
}

inline Array<std::uint8_t> mask_argument(const py::object& value) {
    return image_argument<std::uint8_t>(value, "mask", "bu", "bool or uint8");
}

// `of` names the peer: "mask", "image".
inline void check_shape(const py::array& array, const py::array& peer, const char* name,
                        const char* of) {
    if (array.shape(0) != peer.shape(0) || array.shape(1) != peer.shape(1))
        throw py::value_error(std::string(name) + " must have the " + of + "'s shape " +
                              shape_text(peer) + ", got " + shape_text(array));
}

inline void check_margin(double value, const char* name) {
    if (!(value >= 0) || !std::isfinite(value))
        throw py::value_error(std::string(name) + " must be finite and not negative, got " +
                              repr_text(py::float_(value)));
}

// None is the default margin, NaN for the functions that know one.
inline double margin_argument(const py::object& value, const char* name) {
    if (value.is_none()) return std::numeric_limits<double>::quiet_NaN();
    const auto margin = value.cast<double>();
    check_margin(margin, name);
    return margin;
}

inline Spacing spacing_argument(double row, double column) {
    const auto check = [](double value, const char* name) {
        if (!(value > 0) || !std::isfinite(value))
            throw py::value_error(std::string(name) + " must be positive and finite, got " +
                                  repr_text(py::float_(value)));
    };
    check(row, "row_spacing");
    check(column, "column_spacing");
    return {row, column};
}

// Eight numbers as they come: the caller has chosen which axis is the long one.
inline RecistMark mark_argument(const py::object& value, const char* name) {
    const auto array =
        py::array_t<double, py::array::c_style | py::array::forcecast>::ensure(value);
    if (!array || array.size() != 8)
        throw py::value_error(std::string(name) + " must be 8 numbers, got " + kind_text(value));
    if (!are_usable(array.data()))
        throw py::value_error(std::string(name) +
                              " must be finite and within +-1e9 pixels (the last four all NaN "
                              "where the short axis is unknown), got " +
                              repr_text(array));
    return mark_as_given(array.data());
}

// [H, W] of uint16 whose columns are contiguous.
inline Image<const std::uint16_t> codes_argument(const py::array_t<std::uint16_t>& codes) {
    if (codes.ndim() != 2 || !is_aligned(codes) || codes.shape(0) < 1 || codes.shape(1) < 1 ||
        codes.strides(1) != 2 || codes.strides(0) % 2 != 0 || codes.strides(0) < 0)
        throw py::type_error("codes must be uint16 [H, W] with contiguous columns, got " +
                             kind_text(codes));
    return {codes.data(), codes.shape(0), codes.shape(1), codes.strides(0) / 2};
}

template <typename T>
Image<const T> view(const Array<T>& array) {
    return {array.data(), array.shape(0), array.shape(1)};
}

template <typename T>
Image<T> writable(Array<T>& array) {
    return {array.mutable_data(), array.shape(0), array.shape(1)};
}

// A mask's pixels as bytes of 0 or 1.
inline Image<std::uint8_t> writable(Array<bool>& mask) {
    static_assert(sizeof(bool) == 1, "masks are written as bytes");
    return {reinterpret_cast<std::uint8_t*>(mask.mutable_data()), mask.shape(0), mask.shape(1)};
}

}  // namespace dsnet
