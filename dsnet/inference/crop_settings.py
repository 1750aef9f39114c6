"""How the crops that a network learnt from were made, as its training left it on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from dsnet.data.store.manifest import manifest_file, read_settings


@dataclass(frozen=True)
class CropSettings:
    """How the crops that a network learnt from were made.

    Attributes
    ----------
    size : int
        Pixels a side, as cut.
    network_size : int or None
        Pixels a side that the network saw, where they were resized after the cut.
    window : "auto", "none" or (low, high)
        HU, as in `dsnet.data.datasets.deeplesion.read_crops`.
    isotropic_mm : float or None
        Millimetres a crop pixel; None: native.
    source : str
        Where that was read, in words; what is not said there has the defaults of `dsnet.label`.
    """

    size: int = 64
    network_size: int | None = None
    window: str | tuple[float, float] = "auto"
    isotropic_mm: float | None = None
    source: str = "the defaults of dsnet.label"


def crop_settings(path: str | Path) -> CropSettings:
    """How the crops were made that the model at `path` learnt from.

    `dsnet.train` leaves ``settings.json`` beside its models, which names the label store, whose
    manifest has the settings of `dsnet.label`. What is not there has that command's defaults.

    Parameters
    ----------
    path : path
        Of the model's file, in the folder of its training.

    Raises
    ------
    ValueError
        When ``settings.json`` is there and no JSON object.
    """
    file = Path(path).parent / "settings.json"
    if not file.is_file():
        return CropSettings()
    run = _json_object(file)
    found = CropSettings(size=run.get("size") or 64, source=str(file))
    manifest = manifest_file(Path(run["data"])) if run.get("data") else None
    if manifest is None:
        return found
    made = read_settings(manifest.parent)
    # Whole pictures, as `dsnet.label masks` and `raters` take them, have no size in the settings.
    size = made.get("size") or _first_side(manifest.parent) or found.size
    window = made.get("window") or "auto"
    return replace(
        found,
        size=int(size),
        network_size=run["size"] if run.get("size") not in (0, None, size) else None,
        window=window if isinstance(window, str) else (float(window[0]), float(window[1])),
        isotropic_mm=made.get("isotropic_mm"),
        source=f"{file} and {manifest}",
    )


def _first_side(store: Path) -> int | None:
    from dsnet.data.store.reader import open_store

    try:
        record = next(iter(open_store(store).records("ok")), None)
    except (ValueError, OSError):
        return None
    return None if record is None else max(record.labelled().image.shape)


def _json_object(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must be a JSON object, got {type(content).__name__}")
    return content
