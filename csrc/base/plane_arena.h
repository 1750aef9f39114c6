// Memory for the planes that vector sources work on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "base/vector_unit.h"

namespace dsnet {

// Planes of one type that share memory; what they hold stays finite from one use to the next.
template <typename T>
class PlaneArena {
  public:
    void reserve(std::size_t count) {
        if (count <= capacity_) return;
        // Zeroed, and on a large arena only where it is touched.
        memory_.reset(static_cast<T*>(std::calloc(count + kLanes, sizeof(T))));
        if (!memory_) throw std::bad_alloc();
        capacity_ = count;
    }
    T* data() {
        const auto address = reinterpret_cast<std::uintptr_t>(memory_.get());
        const std::uintptr_t step = kLanes * sizeof(T);
        return memory_.get() + (step - address % step) % step / sizeof(T);
    }

  private:
    struct Free {
        void operator()(T* pointer) const { std::free(pointer); }
    };
    std::unique_ptr<T, Free> memory_;
    std::size_t capacity_ = 0;
};

}  // namespace dsnet
