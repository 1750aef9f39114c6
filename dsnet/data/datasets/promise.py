"""PROMISE12's prostates: MR volumes in MetaImage files, each with a segmentation.

The layout of the challenge's training data (Litjens et al., "Evaluation of prostate segmentation
algorithms for MRI: the PROMISE12 challenge", Medical Image Analysis 18, 2014), in any folders below
the root:

    CaseNN.mhd                 with CaseNN.raw, or CaseNN.zraw where it is compressed
    CaseNN_segmentation.mhd    with its own; 0 outside of the prostate

`.mha` files, which hold their voxels themselves, are read likewise. Each slice is a picture with a
mask, for strategy 1.

MR has no unit like HU: a coil or a scanner of another make gives other numbers for the same tissue.
So each volume is shown by itself: its 1st to 99th percentile becomes 0..1, which leaves out the
glare beside an endorectal coil and what noise there is above the brightest tissue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dsnet.data.crop import Crop
from dsnet.data.ct_image import apply_window
from dsnet.data.datasets.picture_files import by_stem, find_picture_files, readable, stem_of
from dsnet.data.mask_values import MOST_LABELS, binary_mask
from dsnet.data.meta_image import (
    META_ENDINGS,
    MetaHeader,
    read_meta_header,
    read_meta_volume,
)
from dsnet.data.patients import patients_by
from dsnet.data.picture_file import MAX_PIXELS

SEGMENTATION = "_segmentation"
# Of all voxels of a volume, in percent: what is shown as 0 and as 1.
PERCENTILES = (1.0, 99.0)
_VOXEL_ENDINGS = (".raw", ".zraw")
# Spacing, position and directions of a volume and its segmentation are written as decimals.
_AS_WRITTEN = 1e-3


@dataclass(frozen=True)
class VolumeSlice:
    """A slice of a volume, found but not read yet.

    Attributes
    ----------
    key : str
        Unique in its data set.
    image : Path
        The volume's header.
    mask : Path or None
        The segmentation's.
    number : int
        From 0, in the order of the file.
    metadata : dict
    max_pixels : int
        Larger slices are refused, by the header.
    fault : str
        Why it cannot be used; empty where nothing is known.
    """

    key: str
    image: Path
    mask: Path | None
    number: int
    metadata: dict = field(default_factory=dict)
    max_pixels: int = MAX_PIXELS
    fault: str = ""

    @property
    def source(self) -> str:
        """The volume's file."""
        return str(self.image)

    def read(self) -> Crop:
        """The slice with its mask; the whole volume is read for it (`read_slices` reads it once).

        Raises
        ------
        ValueError
            When the volume or its segmentation cannot be used; the message names the file.
        """
        ((_, found),) = read_slices([self])
        if isinstance(found, ValueError):
            raise found
        return found


class FoundSlices(list[VolumeSlice]):
    """The slices of a data set, volume by volume in the order of their names.

    Attributes
    ----------
    left_out : dict of str to int
        Why other files are not among them, and how many.
    """

    def __init__(self, slices=(), left_out: dict[str, int] | None = None) -> None:
        super().__init__(slices)
        self.left_out = dict(left_out or {})


def find_promise_slices(
    root: str | Path, *, patients: str | None = None, max_pixels: int = MAX_PIXELS
) -> FoundSlices:
    """All slices of the volumes below `root` in that layout; only headers are read.

    Keys are `CaseNN/slice-KKK`, with the folders below `root` before them, K from 0. A volume
    without a segmentation, or with several, is listed, too: reading it tells. So is one whose
    header cannot be read, as a single row `CaseNN`.

    Parameters
    ----------
    root : path
    patients : str, optional
        A rule of `patients_by`, for paths below `root`; by default the case is the patient.
    max_pixels : int
        A volume of larger slices is refused.

    Raises
    ------
    ValueError
        When `root` is no folder or holds no volume, or `patients` is no rule.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"root must be a folder, there is none at {root}")
    patient_by = patients_by(patients) if patients else None
    files, left_out = find_picture_files(root, META_ENDINGS)
    for ending in _VOXEL_ENDINGS:
        left_out.pop(f"of ending {ending}", None)
    masks = [file for file in files if file.stem.lower().endswith(SEGMENTATION)]
    volumes = [file for file in files if file not in set(masks)]
    outlines: dict[str, list[Path]] = {}
    for mask in masks:
        outlines.setdefault(stem_of(mask.relative_to(root)).lower(), []).append(mask)
    stems = by_stem(volumes, root)
    spelled = Counter(stem.lower() for stem in stems)
    slices = FoundSlices()
    for volume in volumes:
        place = volume.relative_to(root)
        stem = stem_of(place)
        alone = len(stems[stem]) == 1
        found = outlines.get(f"{stem}{SEGMENTATION}".lower(), [])
        if spelled[stem.lower()] > 1:
            # Case01 and case01: neither takes the other's.
            found = [mask for mask in found if stem_of(mask.relative_to(root)).startswith(stem)]
        count, fault = 1, ""
        case, numbered = readable(stem if alone else place.as_posix()), False
        try:
            count, numbered = read_meta_header(volume, max_pixels).shape[0], True
            if not alone:
                told = ", ".join(readable(other.name) for other in stems[stem])
                raise ValueError(f"{volume}: several volumes of that name: {told}")
            if len(found) > 1:
                told = ", ".join(readable(mask.name) for mask in found)
                raise ValueError(f"{volume}: several segmentations of that name: {told}")
            patient = patient_by(place.as_posix()) if patient_by else volume.stem
        except ValueError as error:
            patient, fault = volume.stem, str(error)
        slices += [
            VolumeSlice(
                key=f"{case}/slice-{number:03d}" if numbered else case,
                image=volume,
                mask=found[0] if len(found) == 1 else None,
                number=number,
                metadata={"patient": readable(patient), "slice": number, "slices": count},
                max_pixels=max_pixels,
                fault=fault,
            )
            for number in range(count)
        ]
    if not slices:
        raise ValueError(f"root must hold CaseNN.mhd volumes, {root} has none")
    wanted = {f"{stem}{SEGMENTATION}".lower() for stem in stems}
    left_out["segmentations without a volume"] = sum(
        len(found) for stem, found in outlines.items() if stem not in wanted
    )
    slices.left_out = dict(+left_out)
    return slices


def read_slices(slices: Iterable[VolumeSlice]) -> Iterator[tuple[VolumeSlice, Crop | ValueError]]:
    """Each slice with its picture and mask, or the error that it met; a volume is read once.

    Slices of one volume are handed out together, volumes in the order of their first slices.
    """
    groups: dict[Path, list[VolumeSlice]] = {}
    for one in slices:
        groups.setdefault(one.image, []).append(one)
    for group in groups.values():
        try:
            volume = _read(group[0])
        except ValueError as error:
            volume = error
        for one in group:
            if isinstance(volume, ValueError):
                yield one, volume
            elif not 0 <= one.number < len(volume.image):
                told = f"{one.image}: no slice {one.number}, it has {len(volume.image)}"
                yield one, ValueError(told)
            else:
                yield one, _crop(one, volume)


@dataclass(frozen=True, eq=False)
class _Volume:
    image: np.ndarray  # as stored, [slices, H, W]
    mask: np.ndarray  # bool, alike
    spacing: tuple[float, float] | None  # (row, column)
    window: tuple[float, float]
    notes: tuple[str, ...]


def _read(one: VolumeSlice) -> _Volume:
    if one.fault:
        raise ValueError(one.fault)
    if one.mask is None:
        raise ValueError(f"{one.image}: no segmentation {one.image.stem}{SEGMENTATION} beside it")
    header = read_meta_header(one.image, one.max_pixels)
    outline = read_meta_header(one.mask, one.max_pixels)
    _require_alike(header, outline)
    image = read_meta_volume(header)
    if not np.isfinite(image).all():
        raise ValueError(f"{one.image}: voxels must be finite, got NaN or infinite ones")
    low, high = (float(value) for value in np.percentile(image, PERCENTILES))
    if not 0 < high - low < np.inf:
        raise ValueError(
            f"{one.image}: voxels must differ, by a finite number, got {low:g} and {high:g} for "
            "the 1st and the 99th percentile"
        )
    voxels = read_meta_volume(outline)
    try:
        mask, note = _lesion(voxels)
    except ValueError as error:
        raise ValueError(f"{one.mask}: {error}") from error
    spacing = header.spacing and header.spacing[1:]
    return _Volume(image, mask, spacing, (low, high), (note,) if note else ())


def _require_alike(header: MetaHeader, outline: MetaHeader) -> None:
    """A segmentation of another grid would outline something else."""
    if outline.shape != header.shape:
        raise ValueError(
            f"{outline.path}: segmentation must be like its volume {header.shape}, got "
            f"{outline.shape}"
        )
    for name, ours, theirs in (
        ("spacing", header.spacing, outline.spacing),
        ("position", header.position, outline.position),
        ("directions", header.directions, outline.directions),
    ):
        # A segmentation that says nothing of them is taken as its volume's.
        if ours and theirs and not np.allclose(ours, theirs, rtol=_AS_WRITTEN, atol=_AS_WRITTEN):
            raise ValueError(
                f"{outline.path}: {name} must be like its volume's {ours}, got {theirs}"
            )


def _lesion(voxels: np.ndarray) -> tuple[np.ndarray, str]:
    values = np.unique(voxels)
    low, high = values[0], values[-1]
    labels = low >= 0 and high <= MOST_LABELS
    if not (low >= 0 and high <= 65535 and (values == np.rint(values)).all()) or (
        len(values) > 2 and not labels
    ):
        raise ValueError(
            "segmentation must be of two values, one of them 0, or of labels up to "
            f"{MOST_LABELS}, got {len(values)} values in {float(low):g}..{float(high):g}"
        )
    return binary_mask(voxels.astype(np.uint16))


def _crop(one: VolumeSlice, volume: _Volume) -> Crop:
    low, high = volume.window
    return Crop(
        image=apply_window(volume.image[one.number], low, high),
        masks=volume.mask[one.number][None],
        spacing=volume.spacing,
        key=one.key,
        source=one.source,
        metadata={**one.metadata, "grey_low": low, "grey_high": high},
        notes=volume.notes,
    )
