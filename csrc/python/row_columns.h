// A store's rows to come: records read into columns.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "codes/columns.h"
#include "codes/key_hash.h"
#include "python/arguments.h"
#include "python/json_text.h"
#include "python/label_codes.h"
#include "python/plane_columns.h"

namespace dsnet {

constexpr std::size_t kMark = 8, kTexts = 4, kPairs = 3;
constexpr const char* kTextNames[kTexts] = {"key", "source", "status", "error"};
constexpr char kQuality[] = "quality_", kSeconds[] = "seconds_";
// A pair, its columns, and whether its numbers must be above 0.
struct Pair {
    const char *name, *first, *second;
    bool positive;
};
constexpr Pair kPairNames[kPairs] = {{"spacing", "spacing_row", "spacing_column", true},
                                     {"offset", "offset_x", "offset_y", false},
                                     {"scale", "scale_x", "scale_y", true}};

inline py::tuple copied(const TextColumn& column) {
    return py::make_tuple(copied(column.ends), py::bytes(column.data));
}

template <typename T>
py::tuple copied(const NumberColumn<T>& column) {
    return py::make_tuple(copied(column.values), copied(column.there));
}

// Just so many numbers, of an array or of floats.
inline bool read_numbers(PyObject* value, std::size_t count, double* numbers) {
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

inline bool append_plain(PyObject* value, TextColumn& column) {
    Py_ssize_t size = 0;
    const char* data = utf8_of(value, size);
    if (data == nullptr) return false;
    column.data.append(data, static_cast<std::size_t>(size));
    column.end();
    return true;
}

// An attribute's name, made once: asking by a C string makes it anew each time.
inline py::object interned(const char* name) {
    auto made = py::reinterpret_steal<py::object>(PyUnicode_InternFromString(name));
    if (!made) throw py::error_already_set();
    return made;
}

struct Names {
    std::array<py::object, kTexts> texts;
    std::array<py::object, kPairs> pairs;
    py::object mark = interned("mark"), notes = interned("notes"), metadata = interned("metadata"),
               quality = interned("quality"), seconds = interned("seconds");
    std::array<py::object, PlaneColumns::kCount> planes = {
        interned("image"), interned("alpha"),   interned("binary"),    interned("trimap"),
        interned("truth"), interned("readers"), interned("neighbours")};

    Names() {
        for (std::size_t i = 0; i < kTexts; ++i) texts[i] = interned(kTextNames[i]);
        for (std::size_t i = 0; i < kPairs; ++i) pairs[i] = interned(kPairNames[i].name);
    }
};

// As long as the process: Python may be gone before it.
inline const Names& names() {
    static const Names* const made = new Names;
    return *made;
}

inline py::object value_of(const py::object& record, const py::object& name) {
    auto value = py::reinterpret_steal<py::object>(PyObject_GetAttr(record.ptr(), name.ptr()));
    if (!value) throw py::error_already_set();
    return value;
}

class RowColumns {
  public:
    RowColumns(int alpha_bits, const py::list& room, const py::tuple& patient_names)
        : alpha_bits_(alpha_bits), patient_names_(patient_names), planes_(room) {
        if (alpha_bits != 8 && alpha_bits != 16)
            throw py::value_error("alpha_bits must be 8 or 16, got " + std::to_string(alpha_bits));
    }

    // Takes in a row of the usual kind; of any other nothing.
    bool append(const py::object& record) {
        if (!begin(record, std::nullopt)) return false;
        std::array<py::object, PlaneColumns::kCount> given;
        for (std::size_t i = 0; i < given.size(); ++i) {
            given[i] = value_of(record, names().planes[i]);
            if (i >= kLabelPlanes && !given[i].is_none()) return false;
        }
        PlaneColumns::Sizes sizes;
        sizes.fill(PlaneColumns::kMissing);
        const auto none = [](const py::object& value) { return value.is_none(); };
        if (failed_.back() != 0 && std::all_of(given.begin(), given.end(), none)) {
            finish(sizes, std::nullopt, std::nullopt);
            return true;
        }
        const auto label = label_planes(given[0], given[1], given[2], given[3]);
        if (!label) return false;
        std::uint8_t* into[kLabelPlanes];
        for (std::size_t i = 0; i < kLabelPlanes; ++i) {
            sizes[i] = label->pixels() * code_bytes(i, alpha_bits_);
            into[i] = planes_.place(i, sizes[i]);
        }
        if (!write_codes(*label, alpha_bits_, into)) return false;
        finish(sizes, static_cast<std::int32_t>(label->rows),
               static_cast<std::int32_t>(label->cols));
        return true;
    }

    // Reads the next row, which counts once `end` was called.
    bool begin(const py::object& record, const std::optional<py::str>& metadata) {
        shorten();
        open_ = true;
        sound_ = false;
        sound_ = read(record, metadata);
        return sound_;
    }

    void end(const py::list& planes, std::optional<std::int32_t> height,
             std::optional<std::int32_t> width) {
        if (!open_ || !sound_) throw py::value_error("a row must begin before it ends");
        if (planes.size() != PlaneColumns::kCount)
            throw py::value_error("planes must be " + std::to_string(PlaneColumns::kCount) +
                                  ", got " + std::to_string(planes.size()));
        PlaneColumns::Sizes sizes;
        for (std::size_t i = 0; i < sizes.size(); ++i) {
            const py::object plane = planes[i];
            sizes[i] = plane.is_none() ? PlaneColumns::kMissing : PyBytes_Size(plane.ptr());
            if (sizes[i] < 0 && !plane.is_none()) throw py::error_already_set();
            if (sizes[i] > 0)
                std::memcpy(planes_.place(i, sizes[i]), PyBytes_AS_STRING(plane.ptr()),
                            static_cast<std::size_t>(sizes[i]));
        }
        finish(sizes, height, width);
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

    // What is known of each row besides its columns.
    py::array hashes() {
        shorten();
        return copied(hashes_);
    }
    py::array failed() {
        shorten();
        return copied(failed_);
    }
    py::array known() {
        shorten();
        return copied(known_);
    }

    const PlaneColumns& planes() const { return planes_; }

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
        // Of the row before: most rows say it by the same text.
        const char* prefix = nullptr;
        py::object text{};
    };

    bool read(const py::object& record, const std::optional<py::str>& metadata) {
        for (std::size_t i = 0; i < kTexts; ++i)
            if (!append_plain(value_of(record, names().texts[i]).ptr(), texts_[i])) return false;
        const std::string& status = texts_[2].data;
        const std::size_t begin = static_cast<std::size_t>(texts_[2].ends[rows_]);
        const bool failed = status.compare(begin, std::string::npos, "failed") == 0;
        if (!failed && status.compare(begin, std::string::npos, "ok") != 0) return false;
        failed_.push_back(failed);
        const auto key = static_cast<std::size_t>(texts_[0].ends[rows_]);
        const char* text = texts_[0].data.data() + key;
        const std::size_t size = texts_[0].data.size() - key;
        if (size == 0) return false;
        hashes_.push_back(key_hash(text, size));
        if (!read_mark(value_of(record, names().mark)) ||
            !read_notes(value_of(record, names().notes)))
            return false;
        for (std::size_t i = 0; i < kPairs; ++i)
            if (!read_pair(value_of(record, names().pairs[i]), i)) return false;
        Known known = Known::kUnsure;
        if (metadata) {
            if (!append_plain(metadata->ptr(), metadata_)) return false;
        } else {
            const py::object value = value_of(record, names().metadata);
            if (!PyDict_CheckExact(value.ptr()) || !append_json(value.ptr(), metadata_.data))
                return false;
            metadata_.end();
            known = tells_patient(value.ptr()) ? Known::kYes : key_names_patient(text, size);
        }
        known_.push_back(static_cast<std::uint8_t>(known));
        next_score_ = 0;
        return read_scores(value_of(record, names().quality), kQuality) &&
               read_scores(value_of(record, names().seconds), kSeconds);
    }

    // As dsnet.data.patients.known_patient, of a dict that JSON could be made of.
    bool tells_patient(PyObject* metadata) const {
        for (const py::handle& name : patient_names_) {
            PyObject* value = PyDict_GetItemWithError(metadata, name.ptr());
            if (value == nullptr && PyErr_Occurred() != nullptr) throw py::error_already_set();
            if (value == nullptr || value == Py_None) continue;
            const bool empty = PyUnicode_Check(value) && PyUnicode_GET_LENGTH(value) == 0;
            const bool null = PyFloat_Check(value) && !std::isfinite(PyFloat_AS_DOUBLE(value));
            if (!empty && !null) return true;
        }
        return false;
    }

    void finish(const PlaneColumns::Sizes& sizes, std::optional<std::int32_t> height,
                std::optional<std::int32_t> width) {
        height_.push(height.value_or(0), height.has_value());
        width_.push(width.value_or(0), width.has_value());
        for (Score& score : scores_)
            if (score.column.size() != rows_ + 1) score.column.resize(rows_ + 1);
        planes_.end(sizes);
        ++rows_;
        open_ = false;
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
            if (!PyFloat_CheckExact(number)) return false;
            const std::size_t found = score_of(prefix, name);
            if (found == scores_.size()) return false;
            next_score_ = found + 1;
            NumberColumn<double>& column = scores_[found].column;
            if (column.size() != rows_) column.resize(rows_);
            column.push(PyFloat_AS_DOUBLE(number));
        }
        return true;
    }

    // Which score a name says, made where it is new; their number where it is no name. Those of
    // most rows come in one order.
    std::size_t score_of(const char* prefix, PyObject* name) {
        if (next_score_ < scores_.size()) {
            const Score& next = scores_[next_score_];
            if (next.prefix == prefix && next.text.ptr() == name) return next_score_;
        }
        Py_ssize_t size = 0;
        const char* text = utf8_of(name, size);
        if (text == nullptr) return scores_.size();
        const std::string wanted = prefix + std::string(text, static_cast<std::size_t>(size));
        const auto found = std::find_if(scores_.begin(), scores_.end(),
                                        [&](const Score& score) { return score.name == wanted; });
        const auto at = static_cast<std::size_t>(found - scores_.begin());
        if (found == scores_.end()) scores_.push_back({wanted, {}});
        scores_[at].prefix = prefix;
        scores_[at].text = py::reinterpret_borrow<py::object>(name);
        return at;
    }

    // Forgets a row that did not end.
    void shorten() {
        if (!open_) return;
        open_ = false;
        for (TextColumn& column : texts_) column.shorten(rows_);
        metadata_.shorten(rows_);
        hashes_.resize(std::min(hashes_.size(), rows_));
        failed_.resize(std::min(failed_.size(), rows_));
        known_.resize(std::min(known_.size(), rows_));
        planes_.shorten(rows_);
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

    const int alpha_bits_;
    const py::tuple patient_names_;
    PlaneColumns planes_;
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
    std::vector<std::uint64_t> hashes_;
    std::vector<std::uint8_t> failed_, known_;
};

}  // namespace dsnet
