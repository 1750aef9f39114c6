"""LIDC-IDRI slices: pictures that several radiologists have outlined.

The layout that circulates: `PATIENT/nodule-N/images/slice-K.png`, and for each reader
`PATIENT/nodule-N/mask-R/slice-K.png`. An empty mask means that this reader did not mark the
slice.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from dsnet.data.crop import Crop
from dsnet.data.datasets.pictures import OutlinedPicture, read_pictures


def find_rater_pictures(root: str | Path) -> list[OutlinedPicture]:
    """All slices below `root` in that layout, in the order of their names.

    Keys are `PATIENT/nodule-N/slice-K`. Where `nodules.csv` lies in `root` or beside it, its
    columns `patient`, `nodule` and `spacing_mm` give the spacing.

    Raises
    ------
    ValueError
        When `root` is no folder or holds no such slice, or `nodules.csv` is not in order.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder")
    spacings = _spacings(root)
    pictures = []
    for image in sorted(root.glob("*/nodule-*/images/*.png")):
        nodule = image.parents[1]
        name = f"{nodule.parent.name}/{nodule.name}"
        masks = sorted(nodule.glob(f"mask-*/{image.name}"))
        pictures.append(
            OutlinedPicture(
                key=f"{name}/{image.stem}",
                image=image,
                masks=tuple(masks),
                spacing=spacings.get(name),
                metadata={"patient": nodule.parent.name, "raters": len(masks)},
            )
        )
    if not pictures:
        raise ValueError(f"{root} holds no PATIENT/nodule-N/images/slice-K.png")
    return pictures


def read_rater_folder(root: str | Path) -> Iterator[tuple[str, Crop | ValueError]]:
    """`find_rater_pictures`, each read: its key with its crop or its error."""
    return read_pictures(find_rater_pictures(root))


def _spacings(root: Path) -> dict[str, tuple[float, float]]:
    for path in (root / "nodules.csv", root.parent / "nodules.csv"):
        if path.is_file():
            break
    else:
        return {}
    spacings = {}
    with open(path, newline="", encoding="utf-8-sig") as file:
        try:
            for row in csv.DictReader(file):
                spacing = float(row["spacing_mm"])
                if not 0 < spacing < float("inf"):
                    raise ValueError(f"spacing_mm must be > 0, got {row['spacing_mm']}")
                spacings[f"{row['patient']}/{row['nodule']}"] = (spacing, spacing)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: patient, nodule, spacing_mm expected: {error}") from error
    return spacings
