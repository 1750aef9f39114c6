"""Soft and binary masks as DICOM Segmentation objects; needs the extra `dsnet[dicom]`."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import dsnet
from dsnet.data.dicom.codes import ABNORMAL, kind_of, place_of, sct
from dsnet.data.dicom.lesions import PlacedLesion
from dsnet.data.dicom.objects import (
    INSTANCE_PLACEHOLDER,
    SERIES_PLACEHOLDER,
    equipment,
    finished,
    require_names,
    source_header,
)
from dsnet.dependencies import needed

if TYPE_CHECKING:
    from pydicom import Dataset

DESCRIPTIONS = {"soft": "dsnet soft masks", "binary": "dsnet masks"}
# Series numbers of derived objects: beyond a scanner's own.
_SERIES_NUMBERS = {"soft": 7001, "binary": 7002}
# Direction cosines that differ less are written with fewer digits here and there.
_SAME_ORIENTATION = 1e-4
_LONGEST_LABEL = 64  # of a LO


def segmentation(
    lesions: Sequence[PlacedLesion],
    headers: Mapping[str, Dataset],
    kind: str,
    *,
    slice_distance: float | None = None,
    keep_identifiers: bool = False,
) -> Dataset:
    """The lesions of one series as one object: a segment and a frame each, in their order.

    The frames have the source slices' own grid, and name the slice that each lies on. A segment
    tells what it is and where, as far as the lesion's words do, by which program it was made, and
    the lesion's tracking identifiers. Source: DICOM PS3.3, A.51 and C.8.20.

    Parameters
    ----------
    lesions : sequence of PlacedLesion
        Of one series, each with a pixel of at least one half.
    headers : mapping of instance UID to Dataset
        Of their slices, without pixels.
    kind : str
        "soft": FRACTIONAL, the share of a pixel that is lesion (OCCUPANCY), 255 for 1, compressed
        by RLE. "binary": BINARY, where it is at least one half.
    slice_distance : float, optional
        Millimetres from one slice of the series to the next, where it is a volume.
    keep_identifiers : bool
        See `source_header`.

    Returns
    -------
    Dataset
        Its UIDs follow from all it holds.

    Raises
    ------
    ValueError
        When the slices lack what places them (spacing, position, orientation, frame of reference),
        are not of one study, size and orientation, or two of them lie in one place.
    ImportError
        When highdicom is not installed.
    """
    with needed("dicom", "writing DICOM segmentations"):
        import highdicom
        from pydicom.uid import ExplicitVRLittleEndian, RLELossless
        from pydicom.valuerep import format_number_as_ds
    if kind not in DESCRIPTIONS:
        raise ValueError(f"kind must be one of {tuple(DESCRIPTIONS)}, got {kind!r}")
    soft = kind == "soft"
    sources, numbers = _sources(lesions, headers, keep_identifiers)
    # One pixel a lesion: what is where is laid out by highdicom, the frames' pixels come after.
    # (Its own stack of every lesion on every slice would be gigabytes for forty lesions.)
    marked = np.zeros((len(numbers), *lesions[0].shape), np.uint16)
    if len(lesions) > marked[0].size:
        raise ValueError(f"a slice of {marked[0].size} pixels cannot hold {len(lesions)} lesions")
    for number, lesion in enumerate(lesions, 1):
        frame = numbers.index((lesion.instance_uid, lesion.frame))
        marked[frame].flat[number - 1] = number
    made: Any = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=marked,
        segmentation_type="FRACTIONAL" if soft else "BINARY",
        fractional_type="OCCUPANCY",
        max_fractional_value=255,
        segment_descriptions=_segments(lesions),
        series_instance_uid=SERIES_PLACEHOLDER,
        series_number=_SERIES_NUMBERS[kind],
        sop_instance_uid=INSTANCE_PLACEHOLDER,
        instance_number=1,
        series_description=DESCRIPTIONS[kind],
        content_label="SOFT_MASKS" if soft else "MASKS",
        content_description=DESCRIPTIONS[kind],
        transfer_syntax_uid=RLELossless if soft else ExplicitVRLittleEndian,
        specific_character_set="ISO_IR 192",
        **equipment(),
    )
    measures = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    if "SpacingBetweenSlices" not in sources[0]:
        # highdicom takes it from the slices with lesions, which need not be neighbours.
        measures.pop("SpacingBetweenSlices", None)
        if slice_distance is not None:
            measures.SpacingBetweenSlices = format_number_as_ds(slice_distance)
    if soft:
        made.PixelData = _run_lengths(lesions, made)
    else:
        made.PixelData = _packed(lesions)
        made.SegmentsOverlap = "YES" if _overlap(lesions) else "NO"
    if sources[0].get("PerFrameFunctionalGroupsSequence") is not None:
        _number_frames(made, [frame for _, frame in numbers])
    return finished(made, sources[0])


def _sources(
    lesions: Sequence[PlacedLesion], headers: Mapping[str, Dataset], keep: bool
) -> tuple[list[Dataset], list[tuple[str, int | None]]]:
    """The slices with lesions as highdicom wants them, and which frame of the stack each is."""
    numbers = sorted(
        {(lesion.instance_uid, lesion.frame) for lesion in lesions},
        key=lambda place: (place[0], place[1] or 0),
    )
    uids = list(dict.fromkeys(uid for uid, _ in numbers))
    for lesion in lesions:
        header = headers[lesion.instance_uid]
        if lesion.shape != (header.get("Rows"), header.get("Columns")):
            size = f"{header.get('Rows')}x{header.get('Columns')}"
            raise ValueError(f"shape must be the slice's {size}, got {lesion.shape}")
    sources = [source_header(headers[uid], keep_identifiers=keep) for uid in uids]
    require_names(sources, ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"))
    if sources[0].get("PerFrameFunctionalGroupsSequence") is None:
        require_names(sources, ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"))
        turned = np.array([source.ImageOrientationPatient for source in sources], np.float64)
        if np.abs(turned - turned[0]).max() > _SAME_ORIENTATION:
            raise ValueError("the slices with lesions must have one orientation, got several")
        for source in sources:
            source.SliceThickness = source.get("SliceThickness")
            # A plain slice says NumberOfFrames here and there.
            source.pop("NumberOfFrames", None)
        return sources, numbers
    if len(sources) > 1:
        raise ValueError(f"a series of objects with frames must be one object, got {len(sources)}")
    groups = sources[0].PerFrameFunctionalGroupsSequence
    frames = [frame or 1 for _, frame in numbers]
    if max(frames) > len(groups):
        raise ValueError(f"frame must be at most {len(groups)}, got {max(frames)}")
    # Only the frames with lesions: the stack is as deep as there are.
    sources[0].PerFrameFunctionalGroupsSequence = [
        copy.deepcopy(groups[frame - 1]) for frame in frames
    ]
    sources[0].NumberOfFrames = len(frames)
    return sources, numbers


def _segments(lesions: Sequence[PlacedLesion]) -> list:
    import highdicom
    from pydicom.sr.codedict import codes

    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="dsnet", family=codes.DCM.NeighborhoodAnalysis, version=dsnet.__version__
    )
    made = []
    for number, lesion in enumerate(lesions, 1):
        place = place_of(lesion.label, lesion.place)
        made.append(
            highdicom.seg.SegmentDescription(
                segment_number=number,
                segment_label=segment_label(lesion, number),
                segmented_property_category=sct(ABNORMAL),
                segmented_property_type=sct(kind_of(lesion.label)),
                algorithm_type="SEMIAUTOMATIC",
                algorithm_identification=algorithm,
                tracking_uid=lesion.tracking_uid,
                tracking_id=lesion.tracking_id,
                anatomic_regions=None if place is None else [sct(place)],
            )
        )
    return made


def segment_label(lesion: PlacedLesion, number: int) -> str:
    """What people see of a segment: its label or its place, and its number."""
    said = " ".join((lesion.label or lesion.place or "lesion").replace("\\", "/").split())
    ending = f" {number}"
    return said[: _LONGEST_LABEL - len(ending)] + ending


def _run_lengths(lesions: Sequence[PlacedLesion], made: Dataset) -> bytes:
    from pydicom.encaps import encapsulate
    from pydicom.pixels.encoders.base import RLELosslessEncoder

    rows, columns = lesions[0].shape
    options: Any = {
        "rows": rows, "columns": columns, "samples_per_pixel": 1, "bits_allocated": 8,
        "bits_stored": 8, "pixel_representation": 0, "number_of_frames": 1,
        "photometric_interpretation": "MONOCHROME2",
    }  # fmt: skip
    frames = []
    for lesion in lesions:
        levels = np.rint(lesion.alpha.astype(np.float64) * 255).astype(np.uint8)
        frames.append(
            RLELosslessEncoder.encode(lesion.on_slice(levels), encoding_plugin="pydicom", **options)
        )
    return encapsulate(frames, has_bot=True)


def _packed(lesions: Sequence[PlacedLesion]) -> bytes:
    """One bit a pixel, the first in the lowest, frames without a gap between (PS3.5, 8.1.1)."""
    parts, left = [], np.zeros(0, bool)
    for lesion in lesions:
        bits = np.concatenate([left, lesion.on_slice(lesion.binary).ravel()])
        whole = len(bits) // 8 * 8
        parts.append(np.packbits(bits[:whole], bitorder="little").tobytes())
        left = bits[whole:]
    parts.append(np.packbits(left, bitorder="little").tobytes())
    packed = b"".join(parts)
    return packed + b"\0" * (len(packed) % 2)


def _overlap(lesions: Sequence[PlacedLesion]) -> bool:
    taken: dict[tuple, np.ndarray] = {}
    for lesion in lesions:
        place = (lesion.instance_uid, lesion.frame)
        mask = taken.setdefault(place, np.zeros(lesion.shape, bool))[lesion.slices]
        if (mask & lesion.binary).any():
            return True
        mask |= lesion.binary
    return False


def _number_frames(made: Dataset, frames: Sequence[int | None]) -> None:
    """The source's own numbers in the place of those among its frames with lesions."""
    for group in made.PerFrameFunctionalGroupsSequence:
        for derived in group.get("DerivationImageSequence") or ():
            for item in derived.SourceImageSequence:
                item.ReferencedFrameNumber = frames[int(item.ReferencedFrameNumber) - 1] or 1
