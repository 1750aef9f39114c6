"""From RECIST marks, masks and raters to soft masks. Never imports torch."""

from dsnet.labeling.constants import BACKGROUND, FOREGROUND, UNKNOWN
from dsnet.labeling.matting import MattingInfo, closed_form_matting
from dsnet.labeling.recist import RecistMark, recist_from_mask
from dsnet.labeling.trimap import consensus, trimap_from_mask, trimap_from_raters

__all__ = [
    "BACKGROUND",
    "FOREGROUND",
    "UNKNOWN",
    "MattingInfo",
    "RecistMark",
    "closed_form_matting",
    "consensus",
    "recist_from_mask",
    "trimap_from_mask",
    "trimap_from_raters",
]
