"""CBAM under torch.func, torch.vmap and forward-mode differentiation."""

import suites
from operations import CBAM


class TestTransforms(suites.Transforms):
    operation = CBAM
