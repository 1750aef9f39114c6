"""How the crops that a network learnt from were made: its file says, or whoever uses it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from dsnet.arguments import brief
from dsnet.data.crop_settings import CropSettings, of_phantoms, of_store
from dsnet.data.store.manifest import manifest_file
from dsnet.models.checkpoint import model_crop

NATIVE = "native"


def crop_settings(
    path: str | Path,
    *,
    size: int | None = None,
    window: str | tuple[float, float] | None = None,
    isotropic_mm: float | str | None = None,
) -> CropSettings:
    """How the crops were made that the model at `path` learnt from.

    The model's file says it. Of one that was written before they did, the folder of its training
    is asked, where ``settings.json`` names a label store that is still there.

    Parameters
    ----------
    path : path or str
        Of the model's file, or the name of released weights.
    size, window, isotropic_mm : optional
        In place of the file's, as `CropSettings` has them; "native" is no `isotropic_mm`. The
        network then sees crops as they are cut, if `size` is given.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        When it is no model file, or neither it nor the arguments say all three.
    """
    found = model_crop(path)
    known = _beside(Path(path)) if found is None else CropSettings.from_dict(found, str(path))
    if known is None:
        if size is None or window is None or isotropic_mm is None:
            raise ValueError(
                f"{path} does not say how the crops were made that it learnt from: give --size, "
                "--window (or --pictures) and --isotropic"
            )
        known = CropSettings(size, window)
    mm = known.isotropic_mm if isotropic_mm is None else isotropic_mm
    given = [name for name, value in (("size", size), ("window", window)) if value is not None]
    given += ["isotropic_mm"] * (isotropic_mm is not None)
    return replace(
        known,
        size=known.size if size is None else size,
        network_size=known.network_size if size is None else None,
        window=known.window if window is None else window,
        isotropic_mm=None if mm == NATIVE else mm,
        source="; ".join(
            filter(None, (known.source, f"{', '.join(given)} as given" if given else ""))
        ),
    )


def _beside(path: Path) -> CropSettings | None:
    """What the training's folder says, for model files of version 1."""
    file = path.parent / "settings.json"
    if not file.is_file():
        return None
    try:
        run = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{file}: {error}") from error
    if not isinstance(run, dict):
        raise ValueError(f"{file}: must be a JSON object, got {type(run).__name__}")
    size, data = run.get("size"), run.get("data")
    if not isinstance(data, str) or type(size) is not int:
        raise ValueError(f"{file}: must have data and size, got {brief(data)} and {brief(size)}")
    if not data:
        return of_phantoms(size or 64)
    return of_store(data, size) if manifest_file(Path(data)) else None
