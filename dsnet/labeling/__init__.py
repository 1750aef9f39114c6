"""From RECIST marks, masks and raters to soft masks. Never imports torch."""

from __future__ import annotations

from dsnet.labeling.constants import BACKGROUND, FOREGROUND, UNKNOWN
from dsnet.labeling.derived_mark import recist_from_mask
from dsnet.labeling.mark_model import draw_mark
from dsnet.labeling.mask_batch import label_mask_batch, label_raters_batch
from dsnet.labeling.matting.closed_form import TIGHT_RTOL, MattingInfo, closed_form_matting
from dsnet.labeling.matting.laplacian import matting_laplacian
from dsnet.labeling.morphology import dilate, erode, split_trimap
from dsnet.labeling.recist import RecistMark
from dsnet.labeling.soft_mask import (
    SoftLabel,
    label_batch,
    label_mask,
    label_raters,
    label_recist,
)
from dsnet.labeling.trimap import (
    consensus,
    trimap_from_mask,
    trimap_from_raters,
    trimap_from_recist,
)

__all__ = [
    "BACKGROUND",
    "FOREGROUND",
    "TIGHT_RTOL",
    "UNKNOWN",
    "MattingInfo",
    "RecistMark",
    "SoftLabel",
    "closed_form_matting",
    "consensus",
    "dilate",
    "draw_mark",
    "erode",
    "label_batch",
    "label_mask",
    "label_mask_batch",
    "label_raters",
    "label_raters_batch",
    "label_recist",
    "matting_laplacian",
    "recist_from_mask",
    "split_trimap",
    "trimap_from_mask",
    "trimap_from_raters",
    "trimap_from_recist",
]
