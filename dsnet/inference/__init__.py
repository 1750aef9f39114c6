"""Whole-slice inference: RECIST marks or boxes in, a soft mask on the slice's grid out.

Public
------
``segment_slice(model, image, prompts, *, size, window, ...) -> SliceSegmentation``
``as_mark(prompt) -> RecistMark``: of a mark, 8 coordinates or a box
``crop_settings(path, ...) -> CropSettings``: how the crops of a trained model were cut
"""

from __future__ import annotations

from dsnet.data.crop_settings import CropSettings
from dsnet.inference.crop_settings import crop_settings
from dsnet.inference.segment import LesionMask, SliceSegmentation, segment_slice
from dsnet.labeling.prompts import as_mark

__all__ = [
    "CropSettings",
    "LesionMask",
    "SliceSegmentation",
    "as_mark",
    "crop_settings",
    "segment_slice",
]
