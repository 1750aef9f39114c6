// Binding of a table's rows: plain lines become annotations at once, what is odd is left to Python.
#include <pybind11/pybind11.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "python/table_text.h"
#include "table/lines.h"
#include "table/plain.h"

namespace dsnet {
namespace {

namespace py = pybind11;

// Of longer lines a cell may have too many characters.
constexpr std::size_t kLongest = 4096;
constexpr std::string_view kEnding = ".png";
constexpr int kDigestBytes = 4;  // eight hexadecimal digits

// What the key of a file's rows begins with.
std::string_view stem_of(std::string_view name) {
    const bool ends = name.size() >= kEnding.size() &&
                      name.substr(name.size() - kEnding.size()) == kEnding;
    return ends ? name.substr(0, name.size() - kEnding.size()) : name;
}

// Whether a cell begins with a letter that no number begins with.
bool is_word(std::string_view cell) {
    const char c = cell.empty() ? '0' : static_cast<char>(cell.front() | 0x20);
    return c >= 'a' && c <= 'z' && c != 'i' && c != 'n';
}

class TableRows {
  public:
    TableRows(const py::tuple& columns, const py::dict& read, const py::tuple& common,
              double origin, const py::dict& tools)
        : columns_(columns),
          name_(place_of(read, "file_name")),
          mark_(place_of(read, "mark")),
          patient_(place_of(read, "patient")),
          study_(place_of(read, "study")),
          series_(place_of(read, "series")),
          slice_(place_of(read, "key_slice")),
          origin_(origin),
          annotation_type_(tools["annotation"]),
          mark_type_(tools["mark"]),
          common_of_(tools["common"]),
          whole_of_(tools["whole_number"]),
          sha256_(tools["sha256"]),
          nameless_(tools["nameless"].cast<std::string>()) {
        if (name_ < 0 || mark_ < 0)
            throw py::value_error("read must have a file_name and a mark among the columns");
        for (const py::handle place : common) common_.push_back(checked(place.cast<int>()));
        for (const int place : common_) common_begin_ += place < 0 ? '0' : '1';
    }

    py::object rows(const py::sequence& spans, const py::list& lines,
                    const py::object& patients) const {
        const py::ssize_t count = PyList_GET_SIZE(lines.ptr());
        py::list found(count);
        py::ssize_t at = 0;
        Scratch scratch;
        const bool counted = each_line(spans, [&](std::string_view line) {
            if (at == count) return false;
            take_apart(line, scratch);
            py::object row = py::none();
            if (scratch.whole)
                row = annotation(line, PyList_GET_ITEM(lines.ptr(), at), patients, scratch);
            PyList_SET_ITEM(found.ptr(), at++, row.release().ptr());
            return true;
        });
        if (!counted || at != count) return py::none();
        return found;
    }

    py::object keys(const py::sequence& spans) const {
        py::list found;
        Scratch scratch;
        const bool counted = each_line(spans, [&](std::string_view line) {
            take_apart(line, scratch);
            py::object key = py::none();
            if (scratch.whole && read_plain(scratch.cells[mark_], scratch.numbers, scratch.said))
                key = key_of(stripped_text(scratch.cells[name_]), scratch);
            found.append(std::move(key));
            return true;
        });
        if (!counted) return py::none();
        return found;
    }

    py::object name_hashes(const py::bytes& text) const {
        std::vector<std::int64_t> names, stems;
        py::list odd;
        std::string begin;
        Scratch scratch;
        const bool counted = each_line(py::make_tuple(text), [&](std::string_view line) {
            take_apart(line, scratch);
            if (!scratch.plain) {
                odd.append(names.size());
                names.push_back(0);
                stems.push_back(0);
                return true;
            }
            const bool there = static_cast<std::size_t>(name_) < scratch.cells.size();
            const py::object name = stripped_text(there ? scratch.cells[name_] : "");
            begin.assign(1, '\0').append(begin_of(name));
            names.push_back(py::hash(name));
            stems.push_back(py::hash(text_of(begin)));
            return true;
        });
        if (!counted) return py::none();
        return py::make_tuple(packed(names), packed(stems), odd);
    }

  private:
    // Of one call: another may begin while this one waits for Python's code.
    struct Scratch {
        bool plain = false,
             whole = false;  // whether the line was taken apart, and has a cell for each column
        std::vector<std::string_view> cells;
        std::vector<double> numbers;
        std::string said, told;
    };

    int checked(int place) const {
        if (place < -1 || place >= static_cast<int>(columns_.size()))
            throw py::value_error("places must be within -1 and " +
                                  std::to_string(columns_.size() - 1) + ", got " +
                                  std::to_string(place));
        return place;
    }

    int place_of(const py::dict& read, const char* name) const {
        return checked(read[name].cast<int>());
    }

    static py::bytes packed(const std::vector<std::int64_t>& numbers) {
        return {reinterpret_cast<const char*>(numbers.data()),
                sizeof(std::int64_t) * numbers.size()};
    }

    // False where it is not sure which lines there are, or `use` is false.
    template <typename Use>
    static bool each_line(const py::sequence& spans, const Use& use) {
        for (const py::handle span : spans) {
            std::string_view text = bytes_of(span);
            while (!text.empty()) {
                const std::string_view line = next_line(text);
                const Blank blank = is_blank(line);
                if (blank == Blank::unsure || (blank == Blank::no && !use(line))) return false;
            }
        }
        return true;
    }

    void take_apart(std::string_view line, Scratch& scratch) const {
        scratch.cells.clear();
        scratch.numbers.clear();
        scratch.said.clear();
        scratch.plain = line.size() <= kLongest && split_plain(line, scratch.cells);
        scratch.whole = scratch.plain && scratch.cells.size() == columns_.size();
    }

    std::string_view begin_of(const py::object& name) const {
        const std::string_view stem = stem_of(utf8_of(name));
        return stem.empty() ? std::string_view(nameless_) : stem;
    }

    std::string_view cell(const Scratch& scratch, int place) const {
        return place < 0 ? std::string_view() : scratch.cells[place];
    }

    // None of a line that is not plain.
    py::object annotation(std::string_view line, const py::handle& number,
                          const py::object& patients, Scratch& scratch) const {
        const py::object name = stripped_text(scratch.cells[name_]);
        if (PyUnicode_GET_LENGTH(name.ptr()) == 0) return py::none();
        if (!read_plain(scratch.cells[mark_], scratch.numbers, scratch.said)) return py::none();
        if (!order_axes(scratch.numbers)) return py::none();
        const py::object key = key_of(name, scratch);
        const py::object named = patients.is_none() ? py::none() : patients(name);
        if (!named.is_none() && py::len(named[py::int_(1)]) != 0) return py::none();
        const py::object patient = named.is_none() ? patient_of(cell(scratch, patient_))
                                                   : named[py::int_(0)];
        const py::object study = whole(cell(scratch, study_)),
                         series = whole(cell(scratch, series_)),
                         slice = whole(cell(scratch, slice_)), common = common_of(scratch);
        PyObject* const parts = common.ptr();
        std::string& told = scratch.told;
        told.assign("[").append(utf8_of(PyTuple_GET_ITEM(parts, 1)));
        for (const py::object* own : {&patient, &study, &series, &slice}) {
            told += ", ";
            add_repr(*own, told);
        }
        told.append(", ").append(utf8_of(PyTuple_GET_ITEM(parts, 2))).append("]");
        const py::object fields = taken(PyDict_Copy(PyTuple_GET_ITEM(parts, 0)));
        const auto set = [&fields](const py::object& what, const py::object& value) {
            if (PyDict_SetItem(fields.ptr(), what.ptr(), value.ptr()) != 0)
                throw py::error_already_set();
        };
        set(names_.key, key);
        set(names_.file_name, name);
        set(names_.row, py::reinterpret_borrow<py::object>(number));
        set(names_.mark, mark_of(scratch.numbers));
        set(names_.patient, patient);
        set(names_.study, study);
        set(names_.series, series);
        set(names_.key_slice, slice);
        set(names_.content, text_of({digest(told).data(), 2 * kDigestBytes}));
        set(names_.source, py::make_tuple(number, text_of(line), columns_, origin_object_));
        const py::object made = bare(annotation_type_);
        if (PyObject_GenericSetDict(made.ptr(), fields.ptr(), nullptr) != 0)
            throw py::error_already_set();
        return made;
    }

    // Of a row of this name, before keys that are there twice are numbered.
    py::object key_of(const py::object& name, Scratch& scratch) const {
        const std::string_view all = utf8_of(name), stem = stem_of(all);
        std::string& told = scratch.told;
        told.assign("[");
        if (is_printed_as_it_is(stem))
            told.append("'").append(stem).append("'");
        else
            add_repr(text_of(stem), told);
        told.append(", ").append(scratch.said).append("]");
        const std::array<char, 2 * kDigestBytes> hex = digest(told);
        told.assign(begin_of(name)).append("#").append(hex.data(), hex.size());
        return text_of(told);
    }

    std::array<char, 2 * kDigestBytes> digest(const std::string& told) const {
        const py::bytes data(told);
        const py::object sum = taken(PyObject_CallOneArg(sha256_.ptr(), data.ptr()));
        const py::object made = taken(PyObject_CallMethodNoArgs(sum.ptr(), names_.digest.ptr()));
        const std::string_view bytes = bytes_of(made);
        std::array<char, 2 * kDigestBytes> hex{};
        for (std::size_t i = 0; i < kDigestBytes && i < bytes.size(); ++i) {
            const auto byte = static_cast<unsigned char>(bytes[i]);
            hex[2 * i] = "0123456789abcdef"[byte >> 4];
            hex[2 * i + 1] = "0123456789abcdef"[byte & 15];
        }
        return hex;
    }

    static py::object bare(const py::object& type) {
        auto* const made = reinterpret_cast<PyTypeObject*>(type.ptr());
        return taken(made->tp_new(made, py::tuple().ptr(), nullptr));
    }

    py::object mark_of(const std::vector<double>& numbers) const {
        py::tuple all(numbers.size());
        for (std::size_t i = 0; i < numbers.size(); ++i) {
            const double number = origin_ == 0 ? numbers[i] : numbers[i] - origin_;
            PyTuple_SET_ITEM(all.ptr(), static_cast<py::ssize_t>(i),
                             taken(PyFloat_FromDouble(number)).release().ptr());
        }
        const py::object made = bare(mark_type_);
        if (PyObject_SetAttr(made.ptr(), names_.numbers.ptr(), all.ptr()) != 0)
            throw py::error_already_set();
        return made;
    }

    py::object whole(std::string_view text) const {
        if (std::int64_t number = 0; read_whole(text, number)) return py::int_(number);
        if (text.empty() || is_word(text)) return py::none();
        return taken(PyObject_CallOneArg(whole_of_.ptr(), text_of(text).ptr()));
    }

    py::object patient_of(std::string_view cell) const {
        py::object number = whole(cell);
        if (!number.is_none()) return number;
        py::object text = stripped_text(cell);
        return PyUnicode_GET_LENGTH(text.ptr()) == 0 ? py::none() : text;
    }

    // What many rows have in common: most often what the row before has.
    py::object common_of(const Scratch& scratch) const {
        std::string key = common_begin_;
        for (const int place : common_) {
            if (place < 0) continue;
            key += '\0';
            key += scratch.cells[place];
        }
        if (last_common_ && key == last_key_) return last_common_;
        py::object found = taken(PyObject_CallOneArg(common_of_.ptr(), text_of(key).ptr()));
        last_key_ = std::move(key);
        last_common_ = found;
        return found;
    }

    struct Names {
        py::str key{"key"}, file_name{"file_name"}, row{"row"}, mark{"mark"}, patient{"patient"},
            study{"study"}, series{"series"}, key_slice{"key_slice"}, content{"_content"},
            source{"_source"}, numbers{"_numbers"}, digest{"digest"};
    };

    py::tuple columns_;
    int name_, mark_, patient_, study_, series_, slice_;
    std::vector<int> common_;
    std::string common_begin_;
    double origin_;
    py::object origin_object_ = py::float_(origin_);
    py::object annotation_type_, mark_type_, common_of_, whole_of_, sha256_;
    std::string nameless_;
    Names names_;
    mutable std::string last_key_;
    mutable py::object last_common_;
};

}  // namespace

void bind_table_rows(py::module_& module) {
    using namespace pybind11::literals;
    py::class_<TableRows>(module, "TableRows", R"(What reads the plain lines of a table.

Parameters
----------
columns : tuple of str
read : dict of str to int
    Which columns file_name, mark, patient, study, series and key_slice are; -1 of one that is not
    there.
common : tuple of int
    Likewise, those that `tools["common"]` reads.
origin : float
    What is taken off coordinates.
tools : dict
    annotation, mark: types. common: of a text of "0" or "1" for each column of `common` that is not
    there or is, and behind a "\0" each the cells of those that are, gives (fields, begin, end): all
    fields of an annotation, and what a row's content begins and ends with. whole_number, sha256.
    nameless: what keys of rows without a file begin with.)")
        .def(py::init<const py::tuple&, const py::dict&, const py::tuple&, double,
                      const py::dict&>(),
             "columns"_a, "read"_a, "common"_a, "origin"_a, "tools"_a)
        .def("rows", &TableRows::rows, "spans"_a, "lines"_a, "patients"_a,
             R"(The annotations of some lines.

Parameters
----------
spans : sequence of bytes
lines : list of int
    Their numbers.
patients : callable, or None
    Of a file name gives (patient, error), in the place of the table's, or None.

Returns
-------
list of annotation or None; or None
    None in the place of a line that is not plain, and of all where there are not as many lines as
    numbers, or it is not sure which are blank. Keys that come twice are not numbered yet.)")
        .def("keys", &TableRows::keys, "spans"_a,
             "As `rows`, of each line its key alone; any mark of plain numbers has one.")
        .def("name_hashes", &TableRows::name_hashes, "text"_a,
             R"(Hashes of the file names of a text's lines.

Parameters
----------
text : bytes

Returns
-------
(bytes, bytes, list of int) or None
    int64 each: `hash` of the name, and of "\0" with what keys begin with; and which lines have none
    since they are not plain. None where it is not sure which lines are blank.)");
}

}  // namespace dsnet
