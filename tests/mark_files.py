"""Writers of files that hold a mark, as viewers and archives write them; ends are pixel centres."""

import io
import json

import numpy as np
import pydicom
from pydicom.uid import generate_uid

CORNER = 0.5
SERIES = "1.2.826.0.1.3680043.8.498.7"


def dicom_bytes(dataset) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def code(value, scheme, meaning):
    made = pydicom.Dataset()
    made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = value, scheme, meaning
    return made


def item(kind, concept=None, relation="CONTAINS", content=(), **tags):
    """A content item of a report by hand."""
    made = pydicom.Dataset()
    made.RelationshipType, made.ValueType = relation, kind
    if concept is not None:
        made.ConceptNameCodeSequence = [code(*concept)]
    for name, value in tags.items():
        setattr(made, name, value)
    if content:
        made.ContentSequence = list(content)
    return made


def image_item(instance, frame=None):
    reference = pydicom.Dataset()
    reference.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    reference.ReferencedSOPInstanceUID = instance
    if frame is not None:
        reference.ReferencedFrameNumber = frame
    return item("IMAGE", relation="SELECTED FROM", ReferencedSOPSequence=[reference])


def number_item(concept, value, unit="mm", content=()):
    measured = pydicom.Dataset()
    measured.NumericValue = str(value)[:16]
    measured.MeasurementUnitsCodeSequence = [code(unit, "UCUM", unit)]
    return item("NUM", concept, MeasuredValueSequence=[measured], content=content)


def line_item(ends, instance="1.2.3", relation="INFERRED FROM", kind="SCOORD", **tags):
    data = [float(v) for v in np.ravel(ends)]
    return item(
        kind, relation=relation, GraphicType="POLYLINE", GraphicData=data,
        content=[image_item(instance)] if instance else (), **tags,
    )  # fmt: skip


def report(*content, sop_class="1.2.840.10008.5.1.4.1.1.88.33") -> bytes:
    """A structured report of these items, with little else."""
    made = item("CONTAINER", ("126000", "DCM", "Imaging Measurement Report"), content=content)
    made.SOPClassUID, made.SOPInstanceUID, made.Modality = sop_class, generate_uid(), "SR"
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    return dicom_bytes(made)


def group(*content):
    return item("CONTAINER", ("125007", "DCM", "Measurement Group"), content=content)


def highdicom_report(mark, image, world=None) -> bytes:
    """TID 1500 by highdicom: the axes as measurements with coordinates, SCOORD or SCOORD3D."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    source = hd.sr.SourceImageForRegion.from_source_image(image)
    measurements = []
    ends = mark.coordinates.reshape(4, 2) + CORNER
    spacing = [float(v) for v in image.PixelSpacing]
    for number, (value, meaning) in enumerate(
        (("103339001", "Long Axis"), ("103340004", "Short Axis"))
    ):
        axis = ends[2 * number : 2 * number + 2]
        if np.isnan(axis).any():
            continue
        if world is None:
            coordinates = hd.sr.CoordinatesForMeasurement("POLYLINE", axis, source)
        else:
            coordinates = hd.sr.CoordinatesForMeasurement3D(
                "POLYLINE", world[2 * number : 2 * number + 2], image.FrameOfReferenceUID
            )
        length = np.hypot(*((axis[1] - axis[0]) * np.array(spacing[::-1])))
        measurements.append(
            hd.sr.Measurement(
                name=hd.sr.CodedConcept(value, "SCT", meaning), value=float(round(length, 3)),
                unit=codes.UCUM.Millimeter, referenced_coordinates=[coordinates],
            )
        )  # fmt: skip
    tracked = hd.sr.TrackingIdentifier(hd.UID("1.2.826.0.1.3680043.8.498.11"), "Lesion 1")
    observer = hd.sr.ObserverContext(
        codes.DCM.Person, hd.sr.PersonObserverIdentifyingAttributes("Reader^One")
    )
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_person_context=observer),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=[
            hd.sr.MeasurementsAndQualitativeEvaluations(
                tracking_identifier=tracked,
                finding_type=codes.SCT.Nodule,
                finding_sites=[hd.sr.FindingSite(codes.SCT.Lung)],
                measurements=measurements,
            )
        ],
    )
    return dicom_bytes(
        hd.sr.Comprehensive3DSR(
            evidence=[image], content=content, series_instance_uid=SERIES + ".1", series_number=1,
            sop_instance_uid=SERIES + ".2", instance_number=1, manufacturer="tests",
        )
    )  # fmt: skip


def highdicom_state(marks, image, units="PIXEL", texts=(), origin=CORNER) -> bytes:
    """A GSPS by highdicom: a line an axis, and texts (words, (x, y))."""
    import highdicom as hd

    def placed(points):
        points = np.asarray(points, float)
        if units == "PIXEL":
            return points + origin
        return (points + CORNER) / np.array([image.Columns, image.Rows])

    layer = hd.pr.GraphicLayer("LAYER", 1)
    lines = [
        hd.pr.GraphicObject("POLYLINE", placed(axis), units, tracking_id="T", tracking_uid="1.2.7")
        for mark in marks
        for axis in (mark.long_axis, mark.short_axis)
        if axis is not None
    ]
    words = [
        hd.pr.TextObject(said, units, anchor_point=tuple(placed(place))) for said, place in texts
    ]
    annotation = hd.pr.GraphicAnnotation(
        referenced_images=[image], graphic_layer=layer, graphic_objects=lines,
        text_objects=words or None,
    )  # fmt: skip
    return dicom_bytes(
        hd.pr.GrayscaleSoftcopyPresentationState(
            referenced_images=[image], series_instance_uid=SERIES + ".3", series_number=2,
            sop_instance_uid=SERIES + ".4", instance_number=1, manufacturer="tests",
            manufacturer_model_name="tests", software_versions="1", device_serial_number="1",
            content_label="MARKS", content_creator_name="Reader^Two",
            graphic_annotations=[annotation], graphic_layers=[layer],
        )
    )  # fmt: skip


def aim_v3(mark, image) -> bytes:
    """AIM version 3 in XML: a Polyline an axis."""
    shapes = []
    for number, axis in enumerate((mark.long_axis, mark.short_axis)):
        if axis is None:
            continue
        points = "".join(
            f'<SpatialCoordinate coordinateIndex="{i}" imageReferenceUID="{image.SOPInstanceUID}" '
            f'referencedFrameNumber="1" x="{x + CORNER!r}" y="{y + CORNER!r}" '
            'xsi:type="TwoDimensionSpatialCoordinate"/>'
            for i, (x, y) in enumerate(axis.tolist())
        )
        shapes.append(
            f'<GeometricShape shapeIdentifier="{number}" xsi:type="MultiPoint">'
            f"<spatialCoordinateCollection>{points}</spatialCoordinateCollection></GeometricShape>"
        )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<ImageAnnotation xmlns="gme://caCORE.caCORE/3.2/edu.northwestern.radiology.AIM" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" name="Lesion 1" '
        'uniqueIdentifier="1.2.11"><user><User name="Reader"/></user>'
        "<imageReferenceCollection><ImageReference><imageStudy><ImageStudy><imageSeries>"
        f'<ImageSeries instanceUID="{image.SeriesInstanceUID}"><imageCollection>'
        f'<Image sopInstanceUID="{image.SOPInstanceUID}"/></imageCollection></ImageSeries>'
        "</imageSeries></ImageStudy></imageStudy></ImageReference></imageReferenceCollection>"
        f"<geometricShapeCollection>{''.join(shapes)}</geometricShapeCollection></ImageAnnotation>"
    ).encode()


def aim_v4(mark, image, linked=True) -> dict:
    """AIM version 4 as JSON: a TwoDimensionMultiPoint an axis, long and short by calculations."""
    markups, calculations, statements = [], [], []
    named = (("G-A185", "LongAxis"), ("G-A186", "ShortAxis"))
    for number, (axis, (value, meaning)) in enumerate(
        zip((mark.long_axis, mark.short_axis), named, strict=True)
    ):
        if axis is None:
            continue
        points = [
            {
                "coordinateIndex": {"value": i},
                "x": {"value": x + CORNER},
                "y": {"value": y + CORNER},
            }
            for i, (x, y) in enumerate(axis.tolist())
        ]
        markups.append(
            {
                "xsi:type": "TwoDimensionMultiPoint",
                "uniqueIdentifier": {"root": f"1.2.{number + 20}"},
                "imageReferenceUid": {"root": str(image.SOPInstanceUID)},
                "referencedFrameNumber": {"value": 1},
                # Out of order, as nothing forbids.
                "twoDimensionSpatialCoordinateCollection": {
                    "TwoDimensionSpatialCoordinate": points[::-1]
                },
            }
        )
        mm = np.asarray(image.PixelSpacing, float)[::-1]
        calculations.append(
            {
                "uniqueIdentifier": {"root": f"1.2.{number + 30}"},
                "typeCode": [
                    {"code": value, "codeSystemName": "SRT", "iso:displayName": {"value": meaning}}
                ],
                "calculationResultCollection": {
                    "CalculationResult": [
                        {
                            "xsi:type": "CompactCalculationResult",
                            "unitOfMeasure": {"value": "cm"},
                            "value": {"value": str(np.hypot(*((axis[1] - axis[0]) * mm)) / 10)},
                        }
                    ]
                },
            }
        )
        statements.append(
            {
                "subjectUniqueIdentifier": {"root": f"1.2.{number + 30}"},
                "objectUniqueIdentifier": {"root": f"1.2.{number + 20}"},
            }
        )
    annotation = {
        "uniqueIdentifier": {"root": "1.2.11"},
        "name": {"value": "Lesion 1~sp1~x"},
        "calculationEntityCollection": {"CalculationEntity": calculations},
        "markupEntityCollection": {"MarkupEntity": markups[::-1]},
        "imageReferenceEntityCollection": {
            "ImageReferenceEntity": [
                {
                    "imageStudy": {
                        "instanceUid": {"root": "1.2.1"},
                        "imageSeries": {
                            "instanceUid": {"root": str(image.SeriesInstanceUID)},
                            "imageCollection": {
                                "Image": [{"sopInstanceUid": {"root": str(image.SOPInstanceUID)}}]
                            },
                        },
                    }
                }
            ]
        },
    }
    if linked:
        annotation["imageAnnotationStatementCollection"] = {"ImageAnnotationStatement": statements}
    return {
        "ImageAnnotationCollection": {
            "user": {"name": {"value": "Reader"}},
            "imageAnnotations": {"ImageAnnotation": [annotation]},
        }
    }


def aim_v4_xml(content: dict) -> bytes:
    """The same in XML."""

    def element(name, value):
        if isinstance(value, list):
            return "".join(element(name, each) for each in value)
        plain = {k: v for k, v in value.items() if not isinstance(v, dict | list)}
        held = "".join(element(k, v) for k, v in value.items() if isinstance(v, dict | list))
        told = "".join(f' {key}="{said}"' for key, said in plain.items())
        return f"<{name}{told}>{held}</{name}>"

    name, value = next(iter(content.items()))
    told = (
        'xmlns="gme://caCORE.caCORE/4.4/edu.northwestern.radiology.AIM" '
        'xmlns:iso="uri:iso.org:21090" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    )
    return element(name, value).replace(f"<{name}", f"<{name} {told}", 1).encode()


def as_json(content) -> bytes:
    return json.dumps(content).encode()
