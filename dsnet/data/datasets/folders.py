"""Plain folders: a picture and the mask of the same name."""

from __future__ import annotations

from pathlib import Path

from dsnet.data.datasets.pictures import OutlinedPicture


def find_image_mask_pictures(
    images_dir: str | Path,
    masks_dir: str | Path,
    *,
    spacing: tuple[float, float] | None = None,
) -> list[OutlinedPicture]:
    """The PNG pictures below `images_dir`, each with the mask at the same place in `masks_dir`.

    Keys are paths in `images_dir` without the ending. A picture without a mask is listed too:
    reading it tells.

    Parameters
    ----------
    images_dir, masks_dir : path
    spacing : (row, column), optional
        Millimetres per pixel, of all pictures.

    Raises
    ------
    ValueError
        When one is no folder, or `images_dir` holds no PNG.
    """
    images_dir, masks_dir = Path(images_dir), Path(masks_dir)
    for name, folder in (("images_dir", images_dir), ("masks_dir", masks_dir)):
        if not folder.is_dir():
            raise ValueError(f"{name} must be a folder, there is none at {folder}")
    pictures = []
    for image in sorted(images_dir.rglob("*.png")):
        place = image.relative_to(images_dir)
        mask = masks_dir / place
        masks = (mask,) if mask.is_file() else ()
        pictures.append(OutlinedPicture(place.with_suffix("").as_posix(), image, masks, spacing))
    if not pictures:
        raise ValueError(f"images_dir must hold PNG pictures, {images_dir} has none")
    return pictures
