"""How the crops of a store were made, for whoever must cut more of them.

Public
------
``CropSettings(size, window, isotropic_mm=None, network_size=None, source="")``
    ``.to_dict() -> dict``, ``.from_dict(found, source) -> CropSettings``
``of_store(path, network_size=None) -> CropSettings or None``
``of_phantoms(size) -> CropSettings``
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsnet.arguments import MILLIMETRES_A_PIXEL, Range, brief
from dsnet.data.ct_image import LUNG_WINDOW

SIDE = Range(int, 1, 65536)
NUMBERS = {"size": SIDE, "network_size": SIDE, "isotropic_mm": MILLIMETRES_A_PIXEL}


@dataclass(frozen=True)
class CropSettings:
    """How crops are made, and brought to a network.

    Attributes
    ----------
    size : int
        Pixels a side, as cut.
    window : "auto", "none" or (low, high)
        HU, as in `dsnet.data.datasets.deeplesion.read_crops`; "none": pictures that were windowed
        already.
    isotropic_mm : float or None
        Millimetres a crop pixel; None: native.
    network_size : int or None
        Pixels a side that the network sees, where crops are resized after the cut.
    source : str
        Where that was read, in words.
    """

    size: int
    window: str | tuple[float, float]
    isotropic_mm: float | None = None
    network_size: int | None = None
    source: str = ""

    def __post_init__(self):
        for name, allowed in NUMBERS.items():
            value = getattr(self, name)
            if value is not None or name == "size":
                allowed.check(name, value)
        if self.window not in ("auto", "none"):
            check_window(self.window)

    def __str__(self) -> str:
        window = self.window
        if not isinstance(window, str):
            window = f"{window[0]:g} to {window[1]:g} HU"
        scale = f"{self.isotropic_mm:g} mm" if self.isotropic_mm else "native"
        resized = f" brought to {self.network_size}" if self.network_size else ""
        return f"crops of {self.size} pixels{resized}, window {window}, {scale} pixels"

    def to_dict(self) -> dict:
        """All but the source, in plain values."""
        window = self.window if isinstance(self.window, str) else list(self.window)
        return {
            "size": self.size, "window": window, "isotropic_mm": self.isotropic_mm,
            "network_size": self.network_size,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, found: dict, source: str) -> CropSettings:
        """Of what `to_dict` gave; raises ValueError, with the source, for what it cannot have."""
        known = {"size", "window", "isotropic_mm", "network_size"}
        if set(found) != known:
            got = brief(sorted(map(str, found)))
            raise ValueError(f"{source} must have {sorted(known)}, got {got}")
        window: Any = found["window"]
        try:
            window = tuple(window) if isinstance(window, list) else window
            return cls(**{**found, "window": window}, source=source)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error


def check_window(window: Any) -> None:
    """Raise ValueError unless this is "auto", "none" or (low, high) in HU, low below high."""
    if isinstance(window, str):
        fits = window in ("auto", "none")
    else:
        fits = isinstance(window, tuple) and len(window) == 2
        fits = fits and all(value in Range(float) for value in window) and window[0] < window[1]
    if not fits:
        raise ValueError(
            f'window must be "auto", "none" or low and high in HU, low below high, got '
            f"{brief(window)}"
        )


def of_store(path: str | Path, network_size: int | None = None) -> CropSettings | None:
    """How the crops in a label store were made; None where its settings do not say.

    Parameters
    ----------
    path : path
        The store.
    network_size : int, optional
        Pixels a side to which they are resized.

    Raises
    ------
    FileNotFoundError, ValueError
        As `open_store`, for a store without a label, and for settings that no command writes.
    """
    from dsnet.data.store.reader import open_store

    store = open_store(path)
    made = store.manifest["settings"]
    if not isinstance(made, dict):
        raise ValueError(f"settings of {path} must be a dict, got {brief(made)}")
    strategy, window = made.get("strategy"), made.get("window")
    if strategy is None and window is None:
        return None
    size = made.get("size")
    if size is None:
        # Whole pictures, as `dsnet.label masks` and `raters` take them, have no size there.
        record = next(iter(store.records("ok")), None)
        if record is None:
            raise ValueError(f"{path} has no label")
        size = max(record.labelled().image.shape)
    if made.get("phantoms"):
        window = LUNG_WINDOW
    elif window is None:
        # Pictures for which no window was given are taken as they are.
        window = "auto" if strategy == "recist" else "none"
    if isinstance(window, list):
        window = tuple(window)
    try:
        return CropSettings(
            size, window, made.get("isotropic_mm"),
            network_size if network_size not in (None, 0, size) else None, f"store {path}",
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(f"settings of {path}: {error}") from error


def of_phantoms(size: int) -> CropSettings:
    """How `dsnet.data.phantom` shows its nodules."""
    return CropSettings(size, LUNG_WINDOW, source="phantoms")
