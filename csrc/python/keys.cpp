// Binding of the hashes of a store's keys.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "codes/key_hash.h"
#include "python/arguments.h"

namespace dsnet {
namespace {

std::uint64_t hash_of(const py::handle& key) {
    Py_ssize_t size = 0;
    const char* text = PyUnicode_AsUTF8AndSize(key.ptr(), &size);
    if (text == nullptr) throw py::error_already_set();
    return key_hash(text, static_cast<std::size_t>(size));
}

py::array_t<std::uint64_t> key_hashes(const py::list& keys) {
    py::array_t<std::uint64_t> made(static_cast<py::ssize_t>(keys.size()));
    std::uint64_t* hashes = made.mutable_data();
    for (const py::handle& key : keys) *hashes++ = hash_of(key);
    return made;
}

py::ssize_t first_hash(const py::object& values, std::uint64_t wanted) {
    const auto hashes = plain_argument<std::uint64_t>(values, "hashes", "uint64");
    const std::uint64_t *begin = hashes.data(), *end = begin + hashes.size();
    // Hashes are spread evenly: where one stands is known but for some roots of the length.
    const double length = static_cast<double>(hashes.size());
    const double guess = std::ldexp(static_cast<double>(wanted), -64) * length;
    const double around = 8 + 4 * std::sqrt(length);
    const std::uint64_t* low = begin + static_cast<py::ssize_t>(std::max(guess - around, 0.0));
    const std::uint64_t* high = begin + static_cast<py::ssize_t>(std::min(guess + around, length));
    if ((low > begin && low[-1] >= wanted) || (high < end && *high < wanted)) {
        low = begin;
        high = end;
    }
    return std::lower_bound(low, high, wanted) - begin;
}

}  // namespace

void bind_keys(py::module_& module) {
    using namespace pybind11::literals;
    module.def("key_hashes", &key_hashes, "keys"_a,
               R"(A 64-bit hash of each key: the bytes of its BLAKE2b of 8 bytes, little-endian.

Parameters
----------
keys : list of str

Returns
-------
uint64 [N]

Raises
------
UnicodeEncodeError
    Of a text that is no Unicode.)");
    module.def(
        "key_hash", [](const py::str& key) { return hash_of(key); }, "key"_a,
        "The hash of one key; see `key_hashes`.");
    module.def("first_hash", &first_hash, "hashes"_a, "wanted"_a,
               R"(The place of the first hash that is not less than another.

Parameters
----------
hashes : uint64 [N]
    In order, contiguous.
wanted : int of 64 bits

Returns
-------
int
    N where all are less.)");
}

}  // namespace dsnet
