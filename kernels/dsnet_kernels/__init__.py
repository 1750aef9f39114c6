"""Fused Triton operations for PyTorch; imports torch and triton and nothing else.

``cbam`` and ``selective_fusion`` run Triton kernels on CUDA tensors and plain PyTorch elsewhere;
``cbam_reference`` and ``selective_fusion_reference`` are that plain PyTorch.
``warmup_cbam`` and ``warmup_selective_fusion`` compile before the first step. ``CBAM`` and
``SelectiveFusion`` are modules, ``from_module`` makes a CBAM of one written elsewhere.
"""

from . import layers
from .cbam.convert import from_module
from .cbam.module import CBAM
from .cbam.op import cbam, warmup_cbam
from .cbam.reference import cbam_reference
from .selective_fusion.module import SelectiveFusion
from .selective_fusion.op import selective_fusion, warmup_selective_fusion
from .selective_fusion.reference import selective_fusion_reference

__all__ = [
    "CBAM",
    "SelectiveFusion",
    "cbam",
    "cbam_reference",
    "from_module",
    "layers",
    "selective_fusion",
    "selective_fusion_reference",
    "warmup_cbam",
    "warmup_selective_fusion",
]
