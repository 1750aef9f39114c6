"""Selective fusion under torch.func, torch.vmap and forward-mode differentiation."""

import suites
from operations import FUSION


class TestTransforms(suites.Transforms):
    operation = FUSION
