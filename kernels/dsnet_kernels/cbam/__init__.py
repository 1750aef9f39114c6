"""CBAM: reference, kernels, operator, module, and the CBAMs of other authors."""

from .convert import from_module
from .module import CBAM, gate
from .op import cbam, warmup_cbam
from .reference import cbam_reference

__all__ = ["CBAM", "cbam", "cbam_reference", "from_module", "gate", "warmup_cbam"]
