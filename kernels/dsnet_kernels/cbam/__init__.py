"""CBAM: reference, kernels, operator, module."""

from .convert import from_module
from .module import CBAM
from .op import cbam, cbam_reference, warmup_cbam

__all__ = ["CBAM", "cbam", "cbam_reference", "from_module", "warmup_cbam"]
