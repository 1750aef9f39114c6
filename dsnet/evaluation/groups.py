"""Which runs are one row of the table: the folds of a cross-validation, the seeds of a recipe."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from itertools import takewhile

from dsnet.evaluation.runs import Run

# Settings in which the folds and seeds of one network may differ.
OF_A_FOLD = ("fold", "seed", "out", "resume", "device", "threads", "log_every", "save_every")


@dataclass
class Group:
    """The runs of one row.

    Attributes
    ----------
    name : str
    seeds : list of list of Run
        Of each seed its runs: one, or the folds of a cross-validation.
    notes : list of str
    """

    name: str
    seeds: list[list[Run]]
    notes: list[str] = field(default_factory=list)


def group_runs(runs: list[Run], part: str = "test", complete: bool = False) -> list[Group]:
    """Put together what differs in fold or seed alone, in the order of the runs.

    Runs of one seed that have the same settings all the same, as a run's best and last model, stay
    rows of their own. Names are told apart.

    Parameters
    ----------
    runs : list of Run
    part : str
        Which is scored.
    complete : bool
        Whether the runs must be all folds of cross-validations.

    Raises
    ------
    ValueError
        When a model or a fold comes twice, or one lacks that must not.
    """
    alike: dict[str, list[Run]] = {}
    for run in runs:
        if complete and not run.settings["folds"]:
            raise ValueError(f"{run.model} is of no cross-validation; --folds asks for its folds")
        alike.setdefault(_course(run), []).append(run)
    times = Counter(str(run.model.resolve()) for run in runs if not run.settings["folds"])
    for path, count in times.items():
        if count > 1:
            raise ValueError(f"{path} is given twice")
    groups = []
    for members in alike.values():
        seeds: dict[int, list[Run]] = {}
        for run in members:
            seeds.setdefault(run.settings["seed"], []).append(run)
        ordered = [seeds[seed] for seed in sorted(seeds)]
        if members[0].settings["folds"]:
            groups.append(_folds(ordered, part, complete))
        elif len(ordered) == len(members):
            groups.append(_seeds(ordered))
        else:
            told = []
            if len(ordered) > 1:
                told = ["its seeds are rows of their own: one of them comes more than once"]
            groups += [Group(run.name, [[run]], list(told)) for run in members]
    place = {id(run): i for i, run in enumerate(runs)}
    groups.sort(key=lambda group: min(place[id(run)] for each in group.seeds for run in each))
    _tell_apart(groups)
    return groups


def name_of_folds(members: list[Run], complete: bool) -> tuple[str, list[str]]:
    """Name of the row that pools the runs of one cross-validation, and notes to it.

    Raises
    ------
    ValueError
        When a fold comes twice, or when they must be `complete` and one lacks.
    """
    folds, variant = members[0].settings["folds"], members[0].settings["variant"]
    found = sorted(run.settings["fold"] for run in members)
    for fold in found:
        if found.count(fold) > 1:
            twice = ", ".join(str(run.model) for run in members if run.settings["fold"] == fold)
            raise ValueError(f"fold {fold} of {folds} comes more than once: {twice}")
    if len(found) == folds:
        return f"{variant} ({folds} folds)", []
    lacking = ", ".join(str(fold) for fold in range(folds) if fold not in found)
    if complete:
        raise ValueError(f"no run of fold {lacking} of {variant}'s {folds} is given; --folds asks")
    note = f"no run of fold {lacking}: its cases are not in these figures"
    return f"{variant} ({len(found)} of {folds} folds)", [note]


def _course(run: Run) -> str:
    """Equal for runs that may become one row."""
    if run.folder is None:
        return str(run.model.resolve())
    course = {k: v for k, v in run.settings.items() if k not in OF_A_FOLD}
    # Of folds, best and last may stand in for each other.
    which = "" if run.settings["folds"] else run.model.name
    return json.dumps([course, which], sort_keys=True)


def _folds(seeds: list[list[Run]], part: str, complete: bool) -> Group:
    if part == "all" and any(len(members) > 1 for members in seeds):
        raise ValueError("part all would pool every case once a fold; pool the folds' test parts")
    named = [name_of_folds(members, complete) for members in seeds]
    if len(seeds) == 1:
        return Group(named[0][0], seeds, named[0][1])
    notes = []
    for members, (_, told) in zip(seeds, named, strict=True):
        notes += [f"seed {members[0].settings['seed']}: {note}" for note in told]
    first = seeds[0][0].settings
    return Group(f"{first['variant']} ({first['folds']} folds, {len(seeds)} seeds)", seeds, notes)


def _seeds(seeds: list[list[Run]]) -> Group:
    first = seeds[0][0]
    if len(seeds) == 1:
        return Group(first.name, seeds)
    file = first.name.partition("/")[2]
    names = [members[0].name.partition("/")[0] for members in seeds]
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    shared = "".join(letters[0] for letters in alike).rstrip("-_. ") or first.settings["variant"]
    return Group(f"{shared}{file and f'/{file}'} ({len(seeds)} seeds)", seeds)


def _tell_apart(groups: list[Group]) -> None:
    times = Counter(group.name for group in groups)
    for group in groups:
        if times[group.name] > 1:
            first = group.seeds[0][0]
            more = f" ({len(group.seeds)} seeds)" if len(group.seeds) > 1 else ""
            group.name = f"{first.folder or first.model}{more}"
    # A folder's best and last.
    times = Counter(group.name for group in groups)
    for group in groups:
        if times[group.name] > 1:
            group.name = str(group.seeds[0][0].model)
