// Batches in a device's memory, as Python hands them over.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "cut/gpu.h"
#include "masks/gpu.h"
#include "matting/gpu.h"
#include "python/arguments.h"
#include "trimap/gpu.h"

namespace dsnet {

// A batch with what keeps its arrays.
template <typename Batch>
struct Held {
    Batch batch = {};
    std::vector<py::object> owners;

    // Where an object with `address`, `nbytes` and perhaps `dtype` lies in a device's memory: as
    // many bytes at least, of one of the dtypes.
    void* take(const py::object& value, const char* name, std::size_t nbytes,
               std::initializer_list<const char*> dtypes) {
        std::string wanted;
        for (const char* dtype : dtypes)
            wanted += (wanted.empty() ? "" : " or ") + std::string(dtype);
        if (!py::hasattr(value, "address") || !py::hasattr(value, "nbytes"))
            throw py::type_error(std::string(name) +
                                 " must be device memory (address, nbytes) of " + wanted +
                                 ", got " + kind_text(value));
        if (py::hasattr(value, "dtype")) {
            const auto dtype = py::str(value.attr("dtype")).cast<std::string>();
            bool known = false;
            for (const char* allowed : dtypes) known = known || dtype == allowed;
            if (!known)
                throw py::type_error(std::string(name) + " must have dtype " + wanted + ", got " +
                                     dtype);
        }
        const auto size = value.attr("nbytes").cast<std::size_t>();
        if (size < nbytes)
            throw py::value_error(std::string(name) + " must hold " + std::to_string(nbytes) +
                                  " bytes, got " + std::to_string(size));
        owners.push_back(value);
        return reinterpret_cast<void*>(value.attr("address").cast<std::uintptr_t>());
    }
    template <typename T>
    void take(T*& field, const py::object& value, const char* name, std::int64_t items,
              std::initializer_list<const char*> dtypes) {
        const std::size_t nbytes = static_cast<std::size_t>(items) * sizeof(T);
        field = static_cast<T*>(take(value, name, nbytes, dtypes));
    }
    template <typename T>
    void take_if_given(T*& field, const py::object& value, const char* name, std::int64_t items,
                       std::initializer_list<const char*> dtypes) {
        if (!value.is_none()) take(field, value, name, items, dtypes);
    }
    void take_workspace(const py::object& value) {
        batch.workspace = take(value, "workspace", 0, {"uint8"});
        batch.workspace_bytes = value.attr("nbytes").template cast<std::size_t>();
    }
    std::int64_t pixels() const { return batch.count * batch.rows * batch.cols; }
};

using MattingHeld = Held<cuda::MattingBatch>;
using CutHeld = Held<cuda::CutBatch>;
using MorphologyHeld = Held<cuda::MorphologyBatch>;
using RatersHeld = Held<cuda::RatersBatch>;

}  // namespace dsnet
