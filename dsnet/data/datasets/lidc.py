"""LIDC-IDRI slices: pictures that several radiologists have outlined.

The layout that circulates: `PATIENT/nodule-N/images/slice-K.png`, and for each reader
`PATIENT/nodule-N/mask-R/slice-K.png`. An empty mask means that this reader did not mark the
slice.
"""

from __future__ import annotations

import csv
from pathlib import Path

from dsnet.data.datasets.pictures import OutlinedPicture


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
        raise ValueError(f"root must be a folder, there is none at {root}")
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
        raise ValueError(f"root must hold PATIENT/nodule-N/images/slice-K.png, {root} has none")
    return pictures


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
