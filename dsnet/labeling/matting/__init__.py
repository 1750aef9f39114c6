"""Closed-form matting: the solve, its Laplacian, its solvers."""

from __future__ import annotations

from dsnet.labeling.matting.closed_form import TIGHT_RTOL, MattingInfo, closed_form_matting
from dsnet.labeling.matting.laplacian import matting_laplacian

__all__ = ["TIGHT_RTOL", "MattingInfo", "closed_form_matting", "matting_laplacian"]
