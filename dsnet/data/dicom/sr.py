"""Measurements of soft masks as DICOM Structured Reports; needs the extra `dsnet[dicom]`.

Template 1500 of PS3.16 with a group (template 1501) for each pair of axes, in the form that OHIF
and Cornerstone3D read back as bidirectional measurements: they know them by how their tracking
identifier begins and by the words "Long Axis" and "Short Axis", and show their comment as label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import dsnet
from dsnet.data.dicom.codes import LONG_AXIS, SHORT_AXIS, kind_of, place_of, sct
from dsnet.data.dicom.lesions import PlacedLesion
from dsnet.data.dicom.objects import (
    INSTANCE_PLACEHOLDER,
    SERIES_PLACEHOLDER,
    content_uid,
    equipment,
    finished,
    require_names,
    source_header,
)
from dsnet.dependencies import needed
from dsnet.labeling.derived_mark import recist_from_mask
from dsnet.labeling.recist import RecistMark

if TYPE_CHECKING:
    from pydicom import Dataset

SR_DESCRIPTION = "dsnet measurements"
# The tools of Cornerstone3D that read two axes, and one.
BIDIRECTIONAL, LENGTH = (
    f"Cornerstone3DTools@^0.1.0:{tool}" for tool in ("Bidirectional", "Length")
)
MEASURED, DRAWN = "measured on the soft mask", "mark"
_SERIES_NUMBER = 7003
# DICOM counts from the first pixel's corner, this project from its centre.
_CORNER = 0.5


class Measured(NamedTuple):
    """Axes (longest first) in the slice's pixels, centres at integers, and their lengths in mm."""

    axes: list[np.ndarray]
    lengths: list[float]


def measured(lesion: PlacedLesion, spacing: tuple[float, float]) -> Measured:
    """The long and the short axis of a lesion's mask, where it is at least one half.

    Parameters
    ----------
    lesion : PlacedLesion
    spacing : (row, column)
        Millimetres per pixel of its slice.
    """
    mark = recist_from_mask(lesion.binary, spacing=spacing)
    row, column = lesion.corner
    return _in_millimetres(mark.translated(column, row), spacing)


def measurement_report(
    lesions: Sequence[PlacedLesion],
    headers: Mapping[str, Dataset],
    spacings: Sequence[tuple[float, float]],
    *,
    keep_identifiers: bool = False,
) -> Dataset:
    """The axes of the lesions of one series, measured on their masks, and the marks beside them.

    A lesion has a group with both axes as they are in its mask, under its tracking UID, which the
    segmentations have, too; and where it was made of a mark a second group with that, under the
    mark's tracking identifier, behind the name of a viewer's tool, and a UID of its own (a viewer
    that knows annotations by UID would have one of them overwrite the other).

    Parameters
    ----------
    lesions : sequence of N PlacedLesion
        Of one series.
    headers : mapping of instance UID to Dataset
        Of their slices, without pixels.
    spacings : sequence of N (row, column)
        Millimetres per pixel of their slices.
    keep_identifiers : bool
        See `source_header`.

    Returns
    -------
    Dataset
        A Comprehensive SR; its UIDs follow from all it holds.

    Raises
    ------
    ValueError
        When a slice lacks its study's or series' UID.
    ImportError
        When highdicom is not installed.
    """
    with needed("dicom", "writing DICOM reports"):
        import highdicom
        from highdicom import sr
        from pydicom.sr.codedict import codes
    uids = sorted({lesion.instance_uid for lesion in lesions})
    sources = [source_header(headers[uid], keep_identifiers=keep_identifiers) for uid in uids]
    require_names(sources, ("SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID"))
    classes = {source.SOPInstanceUID: source.SOPClassUID for source in sources}
    groups = []
    for lesion, spacing in zip(lesions, spacings, strict=True):
        groups.append(_group(lesion, measured(lesion, spacing), classes, drawn=False))
        if lesion.mark is not None:
            marked = _in_millimetres(lesion.mark, spacing)
            groups.append(_group(lesion, marked, classes, drawn=True))
    device: Any = sr.DeviceObserverIdentifyingAttributes(
        uid=content_uid("device", "dsnet", dsnet.__version__), name="dsnet",
        manufacturer_name="dsnet", model_name="dsnet.label",
    )  # fmt: skip
    is_ct = sources[0].get("Modality") == "CT"
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(codes.DCM.Device, device)
        ),
        procedure_reported=(
            codes.LN.CTUnspecifiedBodyRegion if is_ct else codes.SCT.ImagingProcedure
        ),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    made: Any = highdicom.sr.ComprehensiveSR(
        evidence=sources,
        content=report,
        series_instance_uid=SERIES_PLACEHOLDER,
        series_number=_SERIES_NUMBER,
        sop_instance_uid=INSTANCE_PLACEHOLDER,
        instance_number=1,
        is_complete=True,
        series_description=SR_DESCRIPTION,
        specific_character_set="ISO_IR 192",
        **equipment(),
    )
    return finished(made, sources[0])


def _in_millimetres(mark: RecistMark, spacing: tuple[float, float]) -> Measured:
    axes = [axis for axis in (mark.long_axis, mark.short_axis) if axis is not None]
    scale = np.array([spacing[1], spacing[0]])
    lengths = [float(np.hypot(*((axis[1] - axis[0]) * scale))) for axis in axes]
    order = sorted(range(len(axes)), key=lambda i: -lengths[i])
    return Measured([axes[i] for i in order], [lengths[i] for i in order])


def _group(lesion: PlacedLesion, axes: Measured, classes: Mapping[str, Any], *, drawn: bool):
    from highdicom import sr
    from pydicom.sr.codedict import codes

    source = sr.SourceImageForRegion(
        classes[lesion.instance_uid],
        lesion.instance_uid,
        None if lesion.frame is None else [lesion.frame],
    )
    measurements = [
        sr.Measurement(
            name=sct(concept),
            value=round(length, 4),
            unit=codes.UCUM.Millimeter,
            referenced_coordinates=[
                sr.CoordinatesForMeasurement(
                    graphic_type="POLYLINE", graphic_data=axis + _CORNER, source_image=source
                )
            ],
        )
        for concept, axis, length in zip(
            (LONG_AXIS, SHORT_AXIS)[: len(axes.axes)], axes.axes, axes.lengths, strict=True
        )
    ]
    uid, identifier, comment = lesion.tracking_uid, BIDIRECTIONAL, lesion.label
    if drawn:
        uid, identifier = content_uid("mark", lesion.tracking_uid), _shown_as(lesion, axes)
        comment = f"{lesion.label} ({DRAWN})" if lesion.label else DRAWN
    place = place_of(lesion.label, lesion.place)
    group: Any = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=uid, identifier=identifier),
        finding_type=sct(kind_of(lesion.label)),
        finding_sites=None if place is None else [sr.FindingSite(sct(place))],
        algorithm_id=(None if drawn else sr.AlgorithmIdentification("dsnet", dsnet.__version__)),
        session=DRAWN if drawn else MEASURED,
        measurements=measurements,
    )
    if comment:
        group[0].ContentSequence.append(
            sr.TextContentItem(codes.DCM.Comment, comment, sr.RelationshipTypeValues.CONTAINS)
        )
    return group


def _shown_as(lesion: PlacedLesion, axes: Measured) -> str:
    """The identifier of a mark: by its beginning OHIF knows how to draw it, or leaves it out."""
    tool = LENGTH if len(axes.axes) == 1 else BIDIRECTIONAL
    if lesion.tracking_id == lesion.tracking_uid:
        return tool
    named = lesion.tracking_id.lower().startswith("cornerstone")
    return lesion.tracking_id if named else f"{tool}:{lesion.tracking_id}"
