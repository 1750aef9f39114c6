// The planes of rows to come: each column's one after the other, where Arrow takes them.
#pragma once

#include <pybind11/numpy.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "python/arguments.h"

namespace dsnet {

template <typename T>
py::array copied(const std::vector<T>& values) {
    return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

class PlaneColumns {
  public:
    static constexpr std::size_t kCount = 7;  // dsnet.data.store.planes.ARRAY_COLUMNS
    static constexpr std::int64_t kMissing = -1;
    using Sizes = std::array<std::int64_t, kCount>;

    // `room`: uint8 arrays of any content and size, one of each column, or none.
    explicit PlaneColumns(const py::list& room) {
        if (!room.empty() && room.size() != kCount)
            throw py::value_error("room must be " + std::to_string(kCount) + " arrays, got " +
                                  std::to_string(room.size()));
        for (std::size_t i = 0; i < room.size(); ++i) {
            auto array = plain_argument<std::uint8_t>(room[i], "room", "uint8");
            require_writable(array, "room");
            columns_[i].use(std::move(array));
        }
    }

    // Where the next row's plane goes; valid until more is asked of this column.
    std::uint8_t* place(std::size_t column, std::int64_t size) {
        return columns_[column].place(static_cast<std::size_t>(size));
    }

    // What was written to the places is the next row, of a size for each column.
    void end(const Sizes& sizes) {
        for (std::size_t i = 0; i < kCount; ++i) columns_[i].end(sizes[i]);
    }

    void shorten(std::size_t rows) {
        for (Column& column : columns_) {
            column.ends.resize(std::min(column.ends.size(), rows + 1));
            column.there.resize(std::min(column.there.size(), rows));
        }
    }

    std::int64_t bytes() const {
        std::int64_t total = 0;
        for (const Column& column : columns_) total += column.ends.back();
        return total;
    }

    // The memory of each column, and where in it each row begins and ends, and which are there.
    py::list arrays() const {
        py::list found;
        for (const Column& column : columns_)
            found.append(py::make_tuple(column.array, copied(column.ends), copied(column.there)));
        return found;
    }

    py::list room() const {
        py::list found;
        for (const Column& column : columns_) found.append(column.array);
        return found;
    }

  private:
    // Room that is made at first; what of it is not used takes no memory.
    static constexpr std::size_t kFirstRows = 1024, kFirstBytes = std::size_t{16} << 20;

    struct Column {
        py::array_t<std::uint8_t> array{0};
        std::uint8_t* data = nullptr;
        std::size_t room = 0;
        std::vector<std::int64_t> ends{0};
        std::vector<std::uint8_t> there;

        void use(py::array_t<std::uint8_t> other) {
            array = std::move(other);
            data = array.mutable_data();
            room = static_cast<std::size_t>(array.size());
        }

        std::uint8_t* place(std::size_t size) {
            const auto begin = static_cast<std::size_t>(ends.back());
            if (size > room - begin) {
                const std::size_t first = std::min(kFirstRows * size, kFirstBytes);
                const std::size_t most = std::max({begin + size, 2 * room, first});
                py::array_t<std::uint8_t> larger(static_cast<py::ssize_t>(most));
                if (begin > 0) std::memcpy(larger.mutable_data(), data, begin);
                use(std::move(larger));
            }
            return data + begin;
        }

        void end(std::int64_t size) {
            ends.push_back(ends.back() + std::max<std::int64_t>(size, 0));
            there.push_back(size != kMissing);
        }
    };

    std::array<Column, kCount> columns_;
};

}  // namespace dsnet
