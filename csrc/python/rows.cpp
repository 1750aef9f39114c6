// Binding of a store's rows.
#include "python/row_columns.h"

#include <pybind11/stl.h>

namespace dsnet {
void bind_rows(py::module_& module) {
    using namespace pybind11::literals;
    py::class_<RowColumns>(module, "RowColumns", "The records of some rows, as columns.")
        .def(py::init<int, const py::list&, const py::tuple&>(), "alpha_bits"_a, "room"_a,
             "patient_names"_a,
             R"(No rows yet.

Parameters
----------
alpha_bits : {8, 16}
room : list of uint8 [N] arrays
    Memory for the planes, one of each of `planes.ARRAY_COLUMNS`, or none; see `room`.
patient_names : tuple of str
    In the metadata, of a patient.)")
        .def("__len__", &RowColumns::size)
        .def("append", &RowColumns::append, "record"_a,
             R"(Take in a row.

Parameters
----------
record : object with the attributes of a LabelRecord

Returns
-------
bool
    False, and nothing is taken, of a record that is not of the plain types, or has other arrays
    than a label's four, or is not as it should be: `begin` and `end` take it.)")
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
        .def("end", &RowColumns::end, "planes"_a, "height"_a, "width"_a,
             R"(Take in the row that began.

Parameters
----------
planes : list of bytes or None
    Of each of `planes.ARRAY_COLUMNS`.
height, width : int or None
    Of its planes.

Raises
------
ValueError
    If none began, or it was not read.)")
        .def("arrays", &RowColumns::arrays,
             R"(The columns of the rows but for their planes, copied, in a dict by their names.

Returns
-------
dict
    Of texts (offsets int64 [N + 1], bytes); of numbers (values [N], there uint8 [N]), of `notes`
    (offsets int64 [N + 1], texts), of `mark` (there uint8 [N], numbers of those that are).)")
        .def("scores", &RowColumns::scores,
             "The names of the columns of scores and seconds that a row has, as they came.")
        .def(
            "planes", [](const RowColumns& rows) { return rows.planes().arrays(); },
            R"(The rows' planes, each column's one after the other, not copied.

Returns
-------
list of (data uint8 [M], offsets int64 [N + 1], there uint8 [N])
    Of each of `planes.ARRAY_COLUMNS`; what is in `data` after the last offset is of no row.)")
        .def(
            "room", [](const RowColumns& rows) { return rows.planes().room(); },
            "The memory of the planes, for other rows once these are used no more.")
        .def_property_readonly(
            "bytes", [](const RowColumns& rows) { return rows.planes().bytes(); }, "Of all planes.")
        .def("hashes", &RowColumns::hashes, "`key_hashes` of the rows' keys, uint64 [N].")
        .def("failed", &RowColumns::failed, "1 where a row's status is \"failed\", uint8 [N].")
        .def("known", &RowColumns::known,
             R"(Whether a row's patient is known, uint8 [N]; 2 where `known_patient` must tell.)");
}

}  // namespace dsnet
