"""Fused Triton operations for PyTorch; imports torch and triton and nothing else.

``cbam`` and ``selective_fusion`` run Triton kernels on CUDA tensors and plain PyTorch elsewhere;
``cbam_reference`` and ``selective_fusion_reference`` are that plain PyTorch.
"""

from .cbam import cbam, cbam_reference

__all__ = ["cbam", "cbam_reference"]
