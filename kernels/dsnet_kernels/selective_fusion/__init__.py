"""Selective fusion: reference, kernels, operator, module."""

from .op import selective_fusion, selective_fusion_reference, warmup_selective_fusion

__all__ = ["selective_fusion", "selective_fusion_reference", "warmup_selective_fusion"]
