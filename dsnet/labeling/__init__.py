"""From RECIST marks, masks and raters to soft masks. Never imports torch."""

from dsnet.labeling.recist import RecistMark, recist_from_mask

__all__ = ["RecistMark", "recist_from_mask"]
