"""What `python -m dsnet.evaluate` scores: a run's model, and the cases that it may be scored on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from dsnet.arguments import brief
from dsnet.data.crop_settings import CropSettings, of_store
from dsnet.data.patients import patient_of, unknown_patients_note
from dsnet.data.store.reader import open_store
from dsnet.data.store.reviewed import AS_MADE, review_note
from dsnet.models.checkpoint import model_crop, model_inputs
from dsnet.models.released import installed, is_name, names
from dsnet.training.checkpoint import read_checkpoint
from dsnet.training.dataset import DeviceDataset
from dsnet.training.settings import Settings, check, read

PARTS = ("train", "val", "test", "all")


@dataclass
class Run:
    """A model file, with what its training left beside it.

    Attributes
    ----------
    name : str
    model : Path
    settings : dict
        `training.settings.Settings`; the defaults for a model that stands alone.
    split : dict of str to list of str, or None
        Keys of the cases in "train", "val" and "test".
    split_file : Path, optional
    folder : Path or None
        What `dsnet.train` wrote; None for a model that stands alone.
    patients : dict of str to str
        Of the split's keys, where patients.json lies beside split.json.
    rejudged : bool
        Whether other verdicts count than in its training: see `judged_by`.
    """

    name: str
    model: Path
    settings: dict
    split: dict[str, list[str]] | None
    split_file: Path | None
    folder: Path | None
    patients: dict[str, str] = field(default_factory=dict)
    rejudged: bool = False

    def judged_by(self, reviewed: str | None) -> Run:
        """The same, scored on labels that `open_reviewed` gives for this; None: as it learnt."""
        if reviewed is None or reviewed == self.settings["reviewed"]:
            return self
        settings = {**self.settings, "reviewed": reviewed}
        return replace(self, settings=settings, rejudged=True)


def find_run(path: Path, model: str = "best", split: str | None = None) -> Run:
    """The run in a folder of `dsnet.train`, or of a model file in it or alone.

    Parameters
    ----------
    path : Path
        Or the name of released weights, which stand alone; what lies at the path outranks it.
    model : str
        "best" or "last": which one of a folder.
    split : path, optional
        A split.json for a model file that has none beside it.

    Raises
    ------
    ValueError
        For a path that is neither, or a damaged file in the folder.
    """
    if not path.exists():
        if not is_name(path):
            raise ValueError(
                f"run must be a folder of dsnet.train, a model file or one of "
                f"{', '.join(names())}, {path} is not there"
            )
        return _alone(str(path), installed(str(path)), Path(split) if split else None)
    folder = path if path.is_dir() else path.parent
    lacking = [n for n in ("settings.json", "split.json") if not (folder / n).is_file()]
    if path.is_dir() and lacking:
        raise ValueError(f"run must be a folder of dsnet.train, {path} has no {lacking[0]}")
    if lacking:
        return _alone(path.stem, path, Path(split) if split else None)
    try:
        settings = {**asdict(Settings()), **read(folder / "settings.json")}
        check(Settings(**settings))
    except ValueError as error:
        raise ValueError(f"{folder / 'settings.json'} is damaged: {error}") from error
    file = folder / "split.json"
    chosen = path if path.is_file() else folder / f"{model}.pt"
    name = folder.resolve().name + ("" if path.is_dir() else f"/{path.stem}")
    if not chosen.is_file():
        raise ValueError(f"run {path} has no {chosen.name}: no epoch of it is finished")
    return Run(name, chosen, settings, _split(file), file, folder, _patients(file))


def _alone(name: str, model: Path, split: Path | None) -> Run:
    """A model without the folder of its training."""
    found = _split(split) if split else None
    return Run(name, model, asdict(Settings()), found, split, None, _patients(split))


def cases_of(run: Run, data: str | None, part: str, loaded: dict) -> tuple[DeviceDataset, list]:
    """The cases that a run is scored on, and what a reader of its figures must know.

    Parameters
    ----------
    run : Run
    data : path or None
        A label store in place of the run's own.
    part : str
        Of `PARTS`.
    loaded : dict
        Data that were read for other runs; filled.

    Raises
    ------
    ValueError
        When the data are not those of the run, the part is empty, or training patients are in it.
    """
    if run.folder is None and not data:
        raise ValueError(f"model {run.model} says not what to score it on: give --data STORE")
    if run.split is None and part != "all":
        raise ValueError(
            f"model {run.model} stands alone, and nothing says which cases it learnt from: "
            "give --split FILE, the split.json of its training, or --part all"
        )
    source = data or run.settings["data"]
    cases = _load(source, run.settings, model_inputs(run.model), loaded)
    which = run.settings["reviewed"]
    told = review_note(source, which) if source else ""
    source = source or "the phantoms"
    crops = _other_crops(run, data) if data else []
    if told:
        crops.append(told)
    unsure = [told] if (told := unknown_patients_note(cases.unknown, len(cases))) else []
    if any(cases.replayed):
        unsure.append(
            "marks replayed: drawn over the truth as people draw them, the same for every network"
        )
    if run.split is None:
        unsure = ["nothing says which of these cases the network learnt from", *unsure]
        return cases, [*crops, *unsure]
    notes = {
        "train": ["part train: the network learnt from these cases"],
        "val": ["part val: the epoch and the threshold were chosen on these cases"],
        "test": [],
        "all": ["part all: the network learnt from some of these cases"],
    }[part]
    notes = [*crops, *notes]
    known = set().union(*run.split.values())
    if data and not known & set(cases.keys):
        fresh, told = _of_another_store(run, cases, source, part)
        return fresh, [*crops, *told, *unsure]
    notes = [*notes, *unsure, *_changes(run, cases, source, bool(data) or run.rejudged)]
    wanted = known if part == "all" else set(run.split[part])
    missing = wanted - set(cases.keys)
    if missing and which != AS_MADE:
        left_out = missing & set(open_store(source).keys)
        wanted, missing = wanted - left_out, missing - left_out
        if left_out:
            notes.append(f"--reviewed {which} leaves out {len(left_out)} cases of part {part}")
    if missing:
        raise ValueError(
            f"{source} lacks {len(missing)} of the {len(wanted)} cases of part {part} in "
            f"{run.split_file}, {min(missing)} among them"
        )
    if not wanted:
        left = "" if which == AS_MADE else f" that --reviewed {which} leaves"
        raise ValueError(f"part {part} in {run.split_file} has no case{left}")
    place = {key: i for i, key in enumerate(cases.keys)}
    if part in ("val", "test"):
        learnt = {cases.patients[place[key]] for key in run.split["train"] if key in place}
        both = learnt & {cases.patients[place[key]] for key in wanted}
        if both:
            raise ValueError(
                f"{run.split_file} has {len(both)} patients both in train and in {part}, "
                f"{min(both)} among them: figures of such cases say nothing"
            )
    if unknown := len(set(cases.keys) - known):
        notes.append(f"{unknown} cases of {source} are not in the run's split and left out")
    return cases.subset(sorted(place[key] for key in wanted)), notes


def _split(path: Path) -> dict[str, list[str]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"split must be one of dsnet.train, got {path}: {error}") from error
    parts = PARTS[:3]
    if not isinstance(content, dict) or not all(isinstance(content.get(p), list) for p in parts):
        raise ValueError(f"split must have lists {', '.join(parts)}, {path} has not")
    for part in parts:
        if odd := [key for key in content[part] if not isinstance(key, str)]:
            raise ValueError(f"{part} in {path} must hold keys of cases, got {brief(odd[0])}")
    return {part: content[part] for part in parts}


def _patients(split: Path | None) -> dict[str, str]:
    """Of a split's keys; runs of before wrote none."""
    path = split and split.with_name("patients.json")
    if not path or not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it must be a JSON object, got {brief(content)}")
    for key, patient in content.items():
        if not isinstance(patient, str):
            raise ValueError(f"{path} is damaged: {brief(key)} has patient {brief(patient)}")
    return content


def _load(source: str, settings: dict, inputs: tuple[int, bool], loaded: dict) -> DeviceDataset:
    """The data of a run, with what its network sees."""
    size, quality = settings["size"], settings["min_quality"]
    seed = Settings(**settings).seed_of_data
    neighbours, marks = inputs
    which = settings["reviewed"]
    how = (source, size, quality, which) if source else (size, settings["phantoms"], seed)
    how = (*how, *inputs)
    if how not in loaded:
        if source:
            sides = size or None
            found = DeviceDataset.from_store(
                source, "cpu", sides, quality or None, neighbours, which
            )
        elif neighbours:
            raise ValueError("the phantoms have no neighbouring slices, which the network sees")
        else:
            found = DeviceDataset.phantoms(settings["phantoms"], size or 64, seed)
        loaded[how] = found.with_marks(1) if marks else found
    return loaded[how]


def _changes(run: Run, cases: DeviceDataset, source: str, other: bool) -> list[str]:
    """Told by a note where the user named the store, otherwise by an error."""
    file = run.folder and run.folder / "checkpoint.pt"
    if not file or not file.is_file():
        return []
    stored = read_checkpoint(file)["progress"].get("data")
    if not stored or stored == cases.digest():
        return []
    if other:
        return [f"{source} is not, to the bit, what the run was trained on"]
    raise ValueError(
        f"{source} changed since {run.folder} was trained; if that is meant, --data {source}"
        if run.settings["data"]
        else f"the phantoms changed since {run.folder} was trained"
    )


def _other_crops(run: Run, data: str) -> list[str]:
    """A note where a store's crops were made otherwise than those that the network learnt from."""
    found, there = model_crop(run.model), of_store(data, run.settings["size"])
    if found is None or there is None:
        return []
    learnt = CropSettings.from_dict(found, str(run.model))
    if replace(learnt, source="") == replace(there, source=""):
        return []
    return [f"{data} has {there}; the network learnt from {learnt}"]


def _of_another_store(run, cases, source, part) -> tuple[DeviceDataset, list[str]]:
    """All of a store that the run does not know, but not the patients that it learnt from."""
    if part in ("train", "val"):
        raise ValueError(f"{source} shares no case with {run.split_file}: it has no part {part}")
    keys = [key for name in ("train", "val") for key in run.split[name]]
    learnt = {run.patients.get(key) or patient_of(key, {}) for key in keys}
    pairs = list(zip(cases.keys, cases.patients, strict=True))
    fresh = [i for i, (key, name) in enumerate(pairs) if not {name, patient_of(key, {})} & learnt]
    notes = [f"{source} shares no case with the run's data"]
    if len(fresh) == len(cases):
        return cases, notes
    if part == "all":
        return cases, [*notes, f"{len(cases) - len(fresh)} cases are of patients it learnt from"]
    if not fresh:
        raise ValueError(f"all patients in {source} are ones that {run.model} learnt from")
    left_out = f"{len(cases) - len(fresh)} cases of patients it learnt from are left out"
    return cases.subset(fresh), [*notes, left_out]
