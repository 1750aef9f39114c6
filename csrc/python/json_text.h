// The JSON text of plain Python values.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

namespace dsnet {

// The bytes of a Python text in UTF-8; null, and no error set, of anything else.
const char* utf8_of(PyObject* value, Py_ssize_t& size);

// Appends what json.dumps(value, ensure_ascii=False) says, NaN and infinity as null. False where
// that is not sure: of values that are not just None, bool, int of 64 bits, float, str, list, tuple
// and dict of such, of texts that are no Unicode, and of what is nested deep; `text` may then hold
// anything.
bool append_json(PyObject* value, std::string& text, int depth = 0);

}  // namespace dsnet
