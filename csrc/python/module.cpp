// dsnet._C: checks arguments, releases the GIL, calls.
#include <pybind11/pybind11.h>

#include "base/vector_unit.h"
#include "python/vector_units.h"

namespace dsnet {

void bind_codes(py::module_& module);
void bind_crop(py::module_& module);
void bind_cut(py::module_& module);
void bind_dlpack(py::module_& module);
void bind_files(py::module_& module);
void bind_gpu(py::module_& module);
void bind_gpu_batches(py::module_& module);
void bind_keys(py::module_& module);
void bind_label(py::module_& module);
void bind_masks(py::module_& module);
void bind_matting(py::module_& module);
void bind_png(py::module_& module);
void bind_quality(py::module_& module);
void bind_rows(py::module_& module);
void bind_stages(py::module_& module);
void bind_table(py::module_& module);
void bind_table_rows(py::module_& module);
void bind_trimap(py::module_& module);

namespace {

py::dict build_info() {
    py::dict info;
#if defined(__clang__)
    info["compiler"] = "Clang " __clang_version__;
#elif defined(__GNUC__)
    info["compiler"] = "GCC " __VERSION__;
#else
    info["compiler"] = "unknown";
#endif
    info["cplusplus"] = static_cast<long>(__cplusplus);
#ifdef NDEBUG
    info["build_type"] = "Release";
#else
    info["build_type"] = "Debug";
#endif
    info["cuda"] = DSNET_WITH_CUDA != 0;
    info["sanitizers"] = DSNET_SANITIZE;
    info["vector_unit"] = vector_unit_name(vector_unit());
    info["pybind11"] = PYBIND11_TOSTRING(PYBIND11_VERSION_MAJOR) "." PYBIND11_TOSTRING(
        PYBIND11_VERSION_MINOR) "." PYBIND11_TOSTRING(PYBIND11_VERSION_PATCH);
    return info;
}

}  // namespace
}  // namespace dsnet

PYBIND11_MODULE(_C, module) {
    module.doc() =
        "Compiled core of dsnet: labels of RECIST marks and their stages (cut, trimap, matting,\n"
        "scores), masks' morphology, all of these on a GPU where dsnet was built with CUDA; and\n"
        "files, lines of tables, pixels of PNG files, crops of slices, and a store's planes.\n\n"
        "The functions take what their docstrings say and nothing else; dsnet.labeling is the\n"
        "public way to call them.";
    dsnet::bind_codes(module);
    dsnet::bind_crop(module);
    dsnet::bind_cut(module);
    dsnet::bind_dlpack(module);
    dsnet::bind_files(module);
    dsnet::bind_gpu(module);
    dsnet::bind_gpu_batches(module);
    dsnet::bind_keys(module);
    dsnet::bind_label(module);
    dsnet::bind_masks(module);
    dsnet::bind_matting(module);
    dsnet::bind_png(module);
    dsnet::bind_quality(module);
    dsnet::bind_rows(module);
    dsnet::bind_stages(module);
    dsnet::bind_table(module);
    dsnet::bind_table_rows(module);
    dsnet::bind_trimap(module);
    dsnet::bind_vector_units(module);
    module.def("build_info", &dsnet::build_info,
               "What was compiled, as a dict: compiler, cplusplus, build_type, cuda, sanitizers,\n"
               "vector_unit, pybind11.");
}
