// dsnet_emulation: what only tests and benches call.
#include <pybind11/pybind11.h>

#include "python/edge_network.h"
#include "python/vector_units.h"

namespace dsnet {

void bind_core(py::module_& module);
void bind_cut(py::module_& module);
void bind_masks(py::module_& module);
void bind_matting(py::module_& module);

}  // namespace dsnet

PYBIND11_MODULE(dsnet_emulation, module) {
    module.doc() =
        "What only tests and benches of dsnet call: the GPU's blocks run by the CPU, a thread at "
        "a\n"
        "time, and parts of the core that the product reaches inside other work alone.";
    // dsnet._C has such a class too.
    dsnet::bind_edge_network(module, dsnet::py::module_local());
    dsnet::bind_vector_units(module);
    dsnet::bind_core(module);
    dsnet::bind_cut(module);
    dsnet::bind_masks(module);
    dsnet::bind_matting(module);
}
