// Binding of a store's rows: what a record says besides its planes, as columns.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "codes/columns.h"
#include "python/arguments.h"
#include "python/json_text.h"

namespace dsnet {
namespace {

constexpr std::size_t kMark = 8, kTexts = 4, kPairs = 3;
constexpr const char* kTextNames[kTexts] = {"key", "source", "status", "error"};
// A pair, its columns, and whether its numbers must be above 0.
struct Pair {
    const char *name, *first, *second;
    bool positive;
};
constexpr Pair kPairNames[kPairs] = {{"spacing", "spacing_row", "spacing_column", true},
                                     {"offset", "offset_x", "offset_y", false},
                                     {"scale", "scale_x", "scale_y", true}};

template <typename T>
py::array copied(const std::vector<T>& values) {
    return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

py::tuple copied(const TextColumn& column) {
    return py::make_tuple(copied(column.ends), py::bytes(column.data));
}

template <typename T>
py::tuple copied(const NumberColumn<T>& column) {
    return py::make_tuple(copied(column.values), copied(column.there));
}

// Just so many numbers, of an array or of floats.
bool read_numbers(PyObject* value, std::size_t count, double* numbers) {
    if (PyTuple_CheckExact(value) || PyList_CheckExact(value)) {
        if (PySequence_Fast_GET_SIZE(value) != static_cast<Py_ssize_t>(count)) return false;
        for (std::size_t i = 0; i < count; ++i) {
            PyObject* item = PySequence_Fast_GET_ITEM(value, static_cast<Py_ssize_t>(i));
            if (!PyFloat_CheckExact(item)) return false;
            numbers[i] = PyFloat_AS_DOUBLE(item);
        }
        return true;
    }
    if (!py::isinstance<Array<double>>(py::handle(value))) return false;
    const auto array = py::reinterpret_borrow<Array<double>>(value);
    if (array.size() != static_cast<py::ssize_t>(count)) return false;
    std::memcpy(numbers, array.data(), count * sizeof(double));
    return true;
}

bool append_plain(PyObject* value, TextColumn& column) {
    Py_ssize_t size = 0;
    const char* data = utf8_of(value, size);
    if (data == nullptr) return false;
    column.data.append(data, static_cast<std::size_t>(size));
    column.end();
    return true;
}

class RowColumns {
  public:
    // Reads the next row, which counts once `end` was called.
    bool begin(const py::object& record, const std::optional<py::str>& metadata) {
        shorten();
        open_ = true;
        sound_ = false;
        sound_ = read(record, metadata);
        return sound_;
    }

    void end(std::optional<std::int32_t> height, std::optional<std::int32_t> width) {
        if (!open_ || !sound_) throw py::value_error("a row must begin before it ends");
        height_.push(height.value_or(0), height.has_value());
        width_.push(width.value_or(0), width.has_value());
        for (Score& score : scores_) score.column.resize(rows_ + 1);
        ++rows_;
        open_ = false;
    }

    std::size_t size() const { return rows_; }

    py::dict arrays() {
        shorten();
        py::dict found;
        for (std::size_t i = 0; i < kTexts; ++i) found[kTextNames[i]] = copied(texts_[i]);
        found["metadata"] = copied(metadata_);
        found["notes"] = py::make_tuple(copied(note_ends_), copied(notes_));
        found["height"] = copied(height_);
        found["width"] = copied(width_);
        found["mark"] = py::make_tuple(copied(marked_), copied(marks_));
        for (std::size_t i = 0; i < kPairs; ++i) {
            found[kPairNames[i].first] = copied(pairs_[2 * i]);
            found[kPairNames[i].second] = copied(pairs_[2 * i + 1]);
        }
        for (const Score& score : scores_) found[py::str(score.name)] = copied(score.column);
        return found;
    }

    std::vector<std::string> scores() {
        shorten();
        std::vector<std::string> names;
        for (const Score& score : scores_) names.push_back(score.name);
        return names;
    }

  private:
    struct Score {
        std::string name;
        NumberColumn<double> column;
    };

    bool read(const py::object& record, const std::optional<py::str>& metadata) {
        for (std::size_t i = 0; i < kTexts; ++i)
            if (!append_plain(record.attr(kTextNames[i]).ptr(), texts_[i])) return false;
        const std::string& status = texts_[2].data;
        const std::size_t begin = static_cast<std::size_t>(texts_[2].ends[rows_]);
        if (status.compare(begin, std::string::npos, "ok") != 0 &&
            status.compare(begin, std::string::npos, "failed") != 0)
            return false;
        if (texts_[0].ends[rows_] == texts_[0].ends[rows_ + 1]) return false;
        if (!read_mark(record.attr("mark")) || !read_notes(record.attr("notes"))) return false;
        for (std::size_t i = 0; i < kPairs; ++i)
            if (!read_pair(record.attr(kPairNames[i].name), i)) return false;
        if (metadata) {
            if (!append_plain(metadata->ptr(), metadata_)) return false;
        } else {
            const py::object value = record.attr("metadata");
            if (!PyDict_CheckExact(value.ptr()) || !append_json(value.ptr(), metadata_.data))
                return false;
            metadata_.end();
        }
        next_score_ = 0;
        return read_scores(record.attr("quality"), "quality_") &&
               read_scores(record.attr("seconds"), "seconds_");
    }

    bool read_mark(const py::object& value) {
        marked_.push_back(!value.is_none());
        if (value.is_none()) return true;
        double numbers[kMark];
        if (!read_numbers(value.ptr(), kMark, numbers)) return false;
        const bool one_axis = std::all_of(numbers + kMark / 2, numbers + kMark,
                                          [](double number) { return std::isnan(number); });
        for (std::size_t i = 0; i < kMark; ++i) {
            const bool given = !one_axis || i < kMark / 2;
            if (given && !std::isfinite(numbers[i])) return false;
            marks_.push(given ? numbers[i] : 0.0, given);
        }
        return true;
    }

    bool read_notes(const py::object& value) {
        if (!PyTuple_CheckExact(value.ptr()) && !PyList_CheckExact(value.ptr())) return false;
        for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(value.ptr()); ++i)
            if (!append_plain(PySequence_Fast_GET_ITEM(value.ptr(), i), notes_)) return false;
        note_ends_.push_back(static_cast<std::int64_t>(notes_.size()));
        return true;
    }

    bool read_pair(const py::object& value, std::size_t which) {
        double numbers[2] = {0, 0};
        const bool given = !value.is_none();
        if (given && !read_numbers(value.ptr(), 2, numbers)) return false;
        for (std::size_t i = 0; i < 2; ++i) {
            const double number = numbers[i];
            if (given && (!std::isfinite(number) || (kPairNames[which].positive && number <= 0)))
                return false;
            pairs_[2 * which + i].push(number, given);
        }
        return true;
    }

    bool read_scores(const py::object& value, const char* prefix) {
        if (!PyDict_CheckExact(value.ptr())) return false;
        PyObject *name = nullptr, *number = nullptr;
        Py_ssize_t at = 0;
        while (PyDict_Next(value.ptr(), &at, &name, &number) != 0) {
            Py_ssize_t size = 0;
            const char* text = utf8_of(name, size);
            if (text == nullptr || !PyFloat_CheckExact(number)) return false;
            NumberColumn<double>& column =
                score_of(prefix, text, static_cast<std::size_t>(size)).column;
            column.resize(rows_);
            column.push(PyFloat_AS_DOUBLE(number));
        }
        return true;
    }

    // The scores of most rows come in one order.
    Score& score_of(const char* prefix, const char* text, std::size_t size) {
        const std::size_t begin = std::strlen(prefix);
        const auto is_it = [&](const Score& score) {
            return score.name.size() == begin + size && score.name.compare(0, begin, prefix) == 0 &&
                   std::memcmp(score.name.data() + begin, text, size) == 0;
        };
        const std::size_t count = scores_.size();
        std::size_t at = next_score_;
        if (at >= count || !is_it(scores_[at])) {
            at = static_cast<std::size_t>(std::find_if(scores_.begin(), scores_.end(), is_it) -
                                          scores_.begin());
            if (at == count) scores_.push_back({prefix + std::string(text, size), {}});
        }
        next_score_ = at + 1;
        return scores_[at];
    }

    // Forgets a row that did not end.
    void shorten() {
        if (!open_) return;
        open_ = false;
        for (TextColumn& column : texts_) column.shorten(rows_);
        metadata_.shorten(rows_);
        note_ends_.resize(std::min(note_ends_.size(), rows_ + 1));
        notes_.shorten(static_cast<std::size_t>(note_ends_.back()));
        marked_.resize(std::min(marked_.size(), rows_));
        marks_.resize(kMark * static_cast<std::size_t>(
                                  std::count(marked_.begin(), marked_.end(), std::uint8_t{1})));
        for (NumberColumn<double>& column : pairs_) column.resize(std::min(column.size(), rows_));
        height_.resize(std::min(height_.size(), rows_));
        width_.resize(std::min(width_.size(), rows_));
        for (Score& score : scores_) score.column.resize(rows_);
        // A score that no row has any more.
        scores_.erase(std::remove_if(scores_.begin(), scores_.end(),
                                     [](const Score& score) {
                                         const auto& there = score.column.there;
                                         return std::find(there.begin(), there.end(), 1) ==
                                                there.end();
                                     }),
                      scores_.end());
    }

    std::size_t rows_ = 0, next_score_ = 0;
    bool open_ = false, sound_ = false;  // a row that did not end; whether it may
    std::array<TextColumn, kTexts> texts_;
    TextColumn metadata_, notes_;
    std::vector<std::int64_t> note_ends_{0};
    std::vector<std::uint8_t> marked_;
    NumberColumn<double> marks_;
    std::array<NumberColumn<double>, 2 * kPairs> pairs_;
    NumberColumn<std::int32_t> height_, width_;
    std::vector<Score> scores_;
};

}  // namespace

void bind_rows(py::module_& module) {
    using namespace pybind11::literals;
    py::class_<RowColumns>(module, "RowColumns",
                           "What the records of some rows say besides their planes, as columns.")
        .def(py::init<>())
        .def("__len__", &RowColumns::size)
        .def("begin", &RowColumns::begin, "record"_a, "metadata"_a = py::none(),
             R"(Read the next row; it is one of the rows once `end` is called.

Parameters
----------
record : object with the attributes of a LabelRecord
metadata : str, optional
    JSON, in the place of the record's.

Returns
-------
bool
    Whether all is as it should be, and of the plain types: a record of which it is not sure is not
    read.)")
        .def("end", &RowColumns::end, "height"_a, "width"_a,
             R"(Take in the row that began.

Parameters
----------
height, width : int or None
    Of its planes.

Raises
------
ValueError
    If none began, or it was not read.)")
        .def("arrays", &RowColumns::arrays,
             R"(The columns of the rows, copied, in a dict by their names.

Returns
-------
dict
    Of texts (offsets int64 [N + 1], bytes); of numbers (values [N], there uint8 [N]), of `notes`
    (offsets int64 [N + 1], texts), of `mark` (there uint8 [N], numbers of those that are).)")
        .def("scores", &RowColumns::scores,
             "The names of the columns of scores and seconds that a row has, as they came.");
}

}  // namespace dsnet
