"""Selective fusion: reference, kernels, operator, module."""

from .module import SelectiveFusion, select
from .op import selective_fusion, warmup_selective_fusion
from .reference import selective_fusion_reference

__all__ = [
    "SelectiveFusion",
    "select",
    "selective_fusion",
    "selective_fusion_reference",
    "warmup_selective_fusion",
]
