// What labels tell besides their images, as arrays for Python.
#pragma once

#include <algorithm>
#include <utility>

#include "label/label.h"
#include "python/arguments.h"

namespace dsnet {

// A row for each label: states, values, scores, as label_batch's docstring says. `outcome_of(i)`
// gives the outcome of label i.
template <class OutcomeOf>
py::tuple label_table(py::ssize_t count, OutcomeOf outcome_of) {
    constexpr py::ssize_t kStates = 7, kValues = 5, kScores = 12;
    Array<std::int32_t> states({count, kStates});
    Array<double> values({count, kValues});
    Array<double> scores({count, kScores});
    for (py::ssize_t i = 0; i < count; ++i) {
        const LabelOutcome& outcome = outcome_of(i);
        const QualityScores& quality = outcome.quality;
        const std::int32_t state[kStates] = {static_cast<std::int32_t>(outcome.error),
                                             static_cast<std::int32_t>(outcome.problems),
                                             outcome.constant,
                                             static_cast<std::int32_t>(outcome.cut.fallback),
                                             outcome.matting.iterations,
                                             outcome.matting.converged,
                                             static_cast<std::int32_t>(outcome.matting.unknowns)};
        std::copy_n(state, kStates, states.mutable_data(i, 0));
        const double value[kValues] = {outcome.cut.value, outcome.matting.residual,
                                       outcome.seconds[0], outcome.seconds[1], outcome.seconds[2]};
        std::copy_n(value, kValues, values.mutable_data(i, 0));
        const double score[kScores] = {
            quality.expected_dice, quality.expected_dice_low,  quality.axes_agreement,
            quality.mark_inside,   quality.mark_soundness,     quality.known_fraction,
            quality.edge_contrast, quality.in_one_piece,       quality.border_clearance,
            quality.cut,           quality.solver_convergence, quality.overall};
        std::copy_n(score, kScores, scores.mutable_data(i, 0));
    }
    return py::make_tuple(std::move(states), std::move(values), std::move(scores));
}

}  // namespace dsnet
