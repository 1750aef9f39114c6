"""Plain folders: a picture and the mask of the same name."""

from __future__ import annotations

from pathlib import Path

from dsnet.data.ct_image import DICOM_ENDINGS, check_window
from dsnet.data.datasets.picture_files import (
    by_stem,
    find_picture_files,
    named_alike,
    readable,
    stem_of,
    tell_left_out,
)
from dsnet.data.datasets.pictures import FoundPictures, OutlinedPicture
from dsnet.data.patients import patient_in_name, patients_by
from dsnet.data.picture_file import MAX_PIXELS, PICTURE_ENDINGS


def find_image_mask_pictures(
    images_dir: str | Path,
    masks_dir: str | Path,
    *,
    spacing: tuple[float, float] | None = None,
    window: tuple[float, float] | None = None,
    patients: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> FoundPictures:
    """The pictures below `images_dir`, each with the mask at the same place in `masks_dir`.

    PNG, TIFF, BMP and PGM, endings in any case, and DICOM where it is given a window; a mask may
    have another ending than its picture. Keys are paths in `images_dir` without the ending, with it
    where two pictures differ in nothing else. A picture without a mask is listed too: reading it
    tells.

    The patient is what `patients` says; else LIDC's or DeepLesion's number in the path, a DICOM
    file's hashed PatientID, or the first folder below `images_dir`.

    Parameters
    ----------
    images_dir, masks_dir : path
    spacing : (row, column), optional
        Millimetres per pixel, of all pictures; by default what a DICOM file says.
    window : (low, high), optional
        HU. The pictures are 16-bit HU + 32768 then, or DICOM; without it windowed already.
    patients : str, optional
        A rule of `patients_by`, for paths below `images_dir`.
    max_pixels : int
        A file of more is refused.

    Returns
    -------
    FoundPictures
        A list; its `left_out` counts what else lies there.

    Raises
    ------
    ValueError
        When one is no folder, `images_dir` holds no picture, or `window` or `patients` is none.
    """
    check_window(window)
    patient_by = patients_by(patients) if patients else patient_in_name
    images_dir, masks_dir = Path(images_dir), Path(masks_dir)
    for name, folder in (("images_dir", images_dir), ("masks_dir", masks_dir)):
        if not folder.is_dir():
            raise ValueError(f"{name} must be a folder, there is none at {folder}")
    images, left_out = find_picture_files(images_dir, (*PICTURE_ENDINGS, *DICOM_ENDINGS))
    drawn, beside = find_picture_files(masks_dir)
    if masks_dir.resolve() != images_dir.resolve():
        left_out.update({f"{why} among the masks": count for why, count in beside.items()})
    masks, stems = by_stem(drawn, masks_dir), by_stem(images, images_dir)
    pictures, used = FoundPictures(), set()
    for image in images:
        place = image.relative_to(images_dir)
        stem = stem_of(place)
        alone = len(stems[stem]) == 1
        key = readable(stem if alone else place.as_posix())
        while key in used:  # Escapes, too, may come to the same.
            key += "#2"
        used.add(key)
        found = named_alike(masks_dir / place, masks.get(stem, []) if alone else [])
        fault, metadata = "", {}
        if len(found) > 1:
            told = ", ".join(readable(mask.name) for mask in found)
            fault = f"{image}: several masks of that name: {told}"
        try:
            known = patient_by(place.as_posix())
        except ValueError as error:
            known, fault = None, fault or str(error)
        if known:
            metadata["patient"] = readable(known)
        pictures.append(
            OutlinedPicture(
                key,
                image,
                tuple(found[:1]),
                spacing,
                metadata,
                window=window,
                max_pixels=max_pixels,
                folder=readable(place.parts[0]) if len(place.parts) > 1 else "",
                fault=fault,
            )
        )
    if not pictures:
        others = f" ({tell_left_out(left_out)})" if left_out else ""
        raise ValueError(f"images_dir must hold PNG pictures, {images_dir} has none{others}")
    unpaired = set(masks) - set(stems)
    if unpaired and masks_dir.resolve() != images_dir.resolve():
        left_out["masks without a picture"] = sum(len(masks[stem]) for stem in unpaired)
    pictures.left_out = dict(left_out)
    return pictures
