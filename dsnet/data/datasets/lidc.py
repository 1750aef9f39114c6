"""LIDC-IDRI slices: pictures that several radiologists have outlined.

The layout that circulates: `PATIENT/nodule-N/images/slice-K.png`, and for each reader
`PATIENT/nodule-N/mask-R/slice-K.png`. An empty mask means that this reader did not mark the
slice, and so does a file that is absent from the reader's folder.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from dsnet.data.ct_image import check_window
from dsnet.data.datasets.picture_files import (
    by_stem,
    find_picture_files,
    named_alike,
    readable,
    stem_of,
)
from dsnet.data.datasets.pictures import FoundPictures, OutlinedPicture
from dsnet.data.patients import patients_by
from dsnet.data.picture_file import MAX_PIXELS
from dsnet.data.tables import read_table


def find_rater_pictures(
    root: str | Path,
    *,
    window: tuple[float, float] | None = None,
    patients: str | None = None,
    max_pixels: int = MAX_PIXELS,
    neighbours: int = 0,
) -> FoundPictures:
    """All slices below `root` in that layout, in the order of their names.

    Keys are `PATIENT/nodule-N/slice-K`. Where `nodules.csv` lies in `root` or beside it, its
    columns `patient`, `nodule` and `spacing_mm` give the spacing. A nodule's readers are its
    folders `mask-*`.

    Parameters
    ----------
    root : path
    window : (low, high), optional
        HU. The pictures are 16-bit HU + 32768 then; without it windowed already.
    patients : str, optional
        A rule of `patients_by`, for paths below `root`; by default the folder is the patient.
    max_pixels : int
        A file of more is refused.
    neighbours : int
        Slices on either side to read with each, `slice-(K - 1)` and `slice-(K + 1)`. Where there is
        none, the slice itself stands in, which a note tells.

    Returns
    -------
    FoundPictures
        A list; its `left_out` counts what else lies there.

    Raises
    ------
    ValueError
        When `root` is no folder or holds no such slice, `nodules.csv` is not in order, or `window`
        or `patients` is none.
    """
    check_window(window)
    patient_by = patients_by(patients) if patients else None
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"root must be a folder, there is none at {root}")
    spacings = _spacings(root)
    pictures, left_out, used = FoundPictures(), Counter(), set()
    for folder in sorted(root.glob("*/nodule-*/images")):
        nodule = folder.parent
        if nodule.parent.name.startswith("."):
            left_out["hidden"] += 1
            continue
        name = f"{nodule.parent.name}/{nodule.name}"
        images, beside = find_picture_files(folder, deep=False)
        left_out.update(beside)
        readers = [reader for reader in sorted(nodule.glob("mask-*")) if reader.is_dir()]
        masks = [by_stem(find_picture_files(r, deep=False)[0], r) for r in readers]
        stems = by_stem(images, folder)
        for image in images:
            stem = stem_of(Path(image.name))
            alone = len(stems[stem]) == 1
            key = readable(f"{name}/{stem if alone else image.name}")
            while key in used:
                key += "#2"
            used.add(key)
            drawn, fault = [], ""
            for reader, found in zip(readers, masks, strict=True):
                held = named_alike(reader / image.name, found.get(stem, []) if alone else [])
                if len(held) > 1:
                    fault = f"{image}: several masks of that name in {reader.name}"
                drawn += held[:1]
            patient = nodule.parent.name
            try:
                if patient_by:
                    patient = patient_by(f"{name}/images/{image.name}")
            except ValueError as error:
                fault = fault or str(error)
            pictures.append(
                OutlinedPicture(
                    key=key,
                    image=image,
                    masks=tuple(drawn),
                    spacing=spacings.get(name),
                    metadata={"patient": readable(patient), "raters": len(readers)},
                    blank=len(readers) - len(drawn),
                    window=window,
                    max_pixels=max_pixels,
                    fault=fault,
                    neighbours=neighbours,
                )
            )
    if not pictures:
        raise ValueError(f"root must hold PATIENT/nodule-N/images/slice-K.png, {root} has none")
    pictures.left_out = dict(left_out)
    return pictures


def _spacings(root: Path) -> dict[str, tuple[float, float]]:
    for path in (root / "nodules.csv", root.parent / "nodules.csv"):
        if path.exists():
            break
    else:
        return {}
    table = read_table(path)
    spacings: dict[str, tuple[float, float]] = {}
    for row in table.rows:
        try:
            if row.error:
                raise ValueError(row.error)
            spacing = float(row.fields["spacing_mm"])
            if not 0 < spacing < float("inf"):
                raise ValueError(f"spacing_mm must be > 0, got {row.fields['spacing_mm']}")
            name = f"{row.fields['patient']}/{row.fields['nodule']}"
            if spacings.setdefault(name, (spacing, spacing)) != (spacing, spacing):
                raise ValueError(f"{name} has a second spacing_mm, {spacing:g}")
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"{path}: patient, nodule, spacing_mm expected: row {row.line}: {error}"
            ) from error
    return spacings
