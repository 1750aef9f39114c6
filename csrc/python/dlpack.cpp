// DLPack: arrays handed from library to library by address. https://dmlc.github.io/dlpack
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace dsnet {
namespace {

namespace py = pybind11;

// As in dlpack.h, before its version 1.0.
struct DlDevice {
    std::int32_t type, number;
};
struct DlType {
    std::uint8_t code, bits;
    std::uint16_t lanes;
};
struct DlTensor {
    void* data;
    DlDevice device;
    std::int32_t dimensions;
    DlType dtype;
    std::int64_t* shape;
    std::int64_t* strides;  // of elements, null where contiguous
    std::uint64_t byte_offset;
};
struct DlManaged {
    DlTensor tensor;
    void* context;
    void (*deleter)(DlManaged*);
};
constexpr const char* kName = "dltensor";  // "used_dltensor" once someone has taken it

struct Kept {
    DlManaged managed;
    std::vector<std::int64_t> shape;
    py::object owner;
};

void give_back(DlManaged* managed) {
    if (!Py_IsInitialized()) return;
    const py::gil_scoped_acquire acquire;
    delete static_cast<Kept*>(managed->context);
}

void give_back_unused(PyObject* capsule) {
    if (!PyCapsule_IsValid(capsule, kName)) return;
    auto* const managed = static_cast<DlManaged*>(PyCapsule_GetPointer(capsule, kName));
    if (managed->deleter != nullptr) managed->deleter(managed);
}

py::object dlpack_capsule(py::object owner, std::uintptr_t address, std::vector<std::int64_t> shape,
                          int code, int bits, int device_type, int device) {
    auto kept = std::make_unique<Kept>();
    kept->shape = std::move(shape);
    kept->owner = std::move(owner);
    kept->managed = {{reinterpret_cast<void*>(address),
                      {device_type, device},
                      static_cast<std::int32_t>(kept->shape.size()),
                      {static_cast<std::uint8_t>(code), static_cast<std::uint8_t>(bits), 1},
                      kept->shape.data(),
                      nullptr,
                      0},
                     kept.get(),
                     &give_back};
    PyObject* const capsule = PyCapsule_New(&kept->managed, kName, &give_back_unused);
    if (capsule == nullptr) throw py::error_already_set();
    kept.release();
    return py::reinterpret_steal<py::object>(capsule);
}

py::dict read_dlpack(const py::object& capsule) {
    if (!PyCapsule_IsValid(capsule.ptr(), kName))
        throw py::type_error("a DLPack capsule must be named dltensor and not be used yet");
    const auto* const managed =
        static_cast<const DlManaged*>(PyCapsule_GetPointer(capsule.ptr(), kName));
    const DlTensor& tensor = managed->tensor;
    py::list shape, strides;
    for (std::int32_t axis = 0; axis < tensor.dimensions; ++axis) {
        shape.append(tensor.shape[axis]);
        if (tensor.strides != nullptr) strides.append(tensor.strides[axis]);
    }
    py::dict found;
    found["address"] = reinterpret_cast<std::uintptr_t>(tensor.data) + tensor.byte_offset;
    found["shape"] = py::tuple(shape);
    found["strides"] = tensor.strides == nullptr ? py::object(py::none()) : py::tuple(strides);
    found["code"] = tensor.dtype.code;
    found["bits"] = tensor.dtype.bits * tensor.dtype.lanes;
    found["device"] = py::make_tuple(tensor.device.type, tensor.device.number);
    return found;
}

}  // namespace

void bind_dlpack(py::module_& module) {
    using namespace pybind11::literals;
    module.def("dlpack_capsule", &dlpack_capsule, "owner"_a, "address"_a, "shape"_a, "code"_a,
               "bits"_a, "device_type"_a, "device"_a,
               R"(A DLPack capsule of contiguous memory.

Parameters
----------
owner : object
    Kept as long as the capsule, or whoever took it, lives.
address : int
shape : list of int
code, bits : int
    Of an element: 0, 1, 2, 6 for signed, unsigned, float, bool.
device_type, device : int
    2 for CUDA, 1 for the CPU; the device's number.

Returns
-------
capsule)");
    module.def("read_dlpack", &read_dlpack, "capsule"_a,
               R"(What a DLPack capsule tells; the capsule stays unused and keeps the array.

Returns
-------
dict
    address, shape, strides (of elements, None where contiguous), code, bits, device (type, number).

Raises
------
TypeError
    If it is no DLPack capsule, or a used one.)");
}

}  // namespace dsnet
