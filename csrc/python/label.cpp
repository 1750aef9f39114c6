// Binding of whole labels.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <utility>
#include <vector>

#include "label/label.h"
#include "python/arguments.h"
#include "python/label_table.h"

namespace dsnet {
namespace {

// What the tasks write to; views of these arrays become the labels.
struct Outputs {
    Array<float> alpha;
    Array<bool> binary;
    Array<std::uint8_t> trimap;
};

Outputs allocate(const std::vector<py::ssize_t>& shape) {
    return {Array<float>(shape), Array<bool>(shape), Array<std::uint8_t>(shape)};
}

LabelTask make_task(const float* image, const double* coordinates, py::ssize_t rows,
                    py::ssize_t cols, Outputs& outputs, py::ssize_t offset) {
    static_assert(sizeof(bool) == 1, "the mask is written as bytes");
    auto* binary = reinterpret_cast<std::uint8_t*>(outputs.binary.mutable_data());
    return {{image, rows, cols},
            coordinates,
            {outputs.alpha.mutable_data() + offset, rows, cols},
            {binary + offset, rows, cols},
            {outputs.trimap.mutable_data() + offset, rows, cols},
            {}};
}

py::tuple label_batch_binding(const py::object& images, const Array<double>& coordinates,
                              const EdgeNetwork& network, double prior_weight, double rtol,
                              int threads) {
    const py::ssize_t count = static_cast<py::ssize_t>(py::len(images));
    if (coordinates.ndim() != 2 || coordinates.shape(0) != count || coordinates.shape(1) != 8)
        throw py::value_error("coordinates must have shape [N, 8] with as many rows as images (" +
                              std::to_string(count) + "), got " + shape_text(coordinates));
    LabelOptions options;
    options.network = &network;
    options.prior_weight = prior_weight;
    options.matting.rtol = rtol;

    std::vector<LabelTask> tasks;
    tasks.reserve(static_cast<std::size_t>(count));
    std::vector<Array<float>> kept;  // the images, while no one else may hold them
    py::object alpha, binary, trimap;
    const auto coordinates_of = [&](py::ssize_t i) { return coordinates.data(i, 0); };
    if (py::isinstance<Array<float>>(images) && is_aligned(images) &&
        py::reinterpret_borrow<py::array>(images).ndim() == 3) {
        // One block: so are the labels.
        kept.push_back(py::reinterpret_borrow<Array<float>>(images));
        const Array<float>& block = kept[0];
        const py::ssize_t rows = block.shape(1), cols = block.shape(2);
        if (rows == 0 || cols == 0)
            throw py::value_error("images must have H, W >= 1, got shape " + shape_text(block));
        check_pixels(block, "images");
        Outputs outputs = allocate({count, rows, cols});
        for (py::ssize_t i = 0; i < count; ++i)
            tasks.push_back(make_task(block.data() + i * rows * cols, coordinates_of(i), rows, cols,
                                      outputs, i * rows * cols));
        alpha = std::move(outputs.alpha);
        binary = std::move(outputs.binary);
        trimap = std::move(outputs.trimap);
    } else {
        py::list alphas(count), binaries(count), trimaps(count);
        for (py::ssize_t i = 0; i < count; ++i) {
            kept.push_back(image_argument<float>(images[py::int_(i)], "images", "f", "float32"));
            const Array<float>& image = kept.back();
            if (image.size() == 0)
                throw py::value_error("images must have H, W >= 1, got shape " + shape_text(image));
            Outputs outputs = allocate({image.shape(0), image.shape(1)});
            tasks.push_back(make_task(image.data(), coordinates_of(i), image.shape(0),
                                      image.shape(1), outputs, 0));
            alphas[i] = std::move(outputs.alpha);
            binaries[i] = std::move(outputs.binary);
            trimaps[i] = std::move(outputs.trimap);
        }
        alpha = std::move(alphas);
        binary = std::move(binaries);
        trimap = std::move(trimaps);
    }
    {
        py::gil_scoped_release release;
        label_batch(tasks, options, threads);
    }
    const py::tuple told = label_table(count, [&](py::ssize_t i) -> const LabelOutcome& {
        return tasks[static_cast<std::size_t>(i)].outcome;
    });
    return py::make_tuple(std::move(alpha), std::move(binary), std::move(trimap), told[0], told[1],
                          told[2]);
}

}  // namespace

void bind_label(py::module_& module) {
    using namespace pybind11::literals;
    module.def("label_batch", &label_batch_binding, "images"_a, "coordinates"_a, "network"_a,
               "prior_weight"_a, "rtol"_a, "threads"_a,
               R"(Strategy 3's labels of many images; see dsnet.labeling.label_batch.

Parameters
----------
images : float32 [N, H, W], or sequence of N float32 [H, W]
coordinates : float64 [N, 8]
    The long axis' x1, y1, x2, y2, then the short axis', NaN where that is unknown.
network : EdgeNetwork
prior_weight, rtol : float
    Of matting.
threads : int
    At least 1.

Returns
-------
alpha, binary, trimap : float32, bool and uint8 arrays [N, H, W], or lists of N
states : int32 [N, 7]
    Error (0 none, 1 the image's values, 2 the mark, 3 an image below 3 x 3; the row's other
    outputs then mean nothing), the mark's problems as bits, whether the image is constant, why the
    cut fell back, matting's iterations, whether it converged, and its unknowns.
values : float64 [N, 5]
    What the cut's fallback goes by, matting's residual, seconds of cut, trimap and matting.
scores : float64 [N, 12]
    In the order of dsnet.labeling.quality.RECIST_SCORES.

Raises
------
TypeError
    If an image is not an array of float32.
ValueError
    If one is not two-dimensional or empty, or the coordinates are not as many.)");
}

}  // namespace dsnet
