"""Fused Triton operations for PyTorch; imports torch and triton and nothing else.

``cbam`` and ``selective_fusion`` run Triton kernels on CUDA tensors and plain PyTorch elsewhere;
``cbam_reference`` and ``selective_fusion_reference`` are that plain PyTorch. ``warmup_cbam``
compiles before the first step. ``CBAM`` is a module, ``from_module`` makes it of a CBAM written
elsewhere.
"""

from . import layers
from .cbam import cbam, cbam_reference, warmup_cbam
from .convert import from_module
from .modules import CBAM

__all__ = ["CBAM", "cbam", "cbam_reference", "from_module", "layers", "warmup_cbam"]
