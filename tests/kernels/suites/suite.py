"""What all suites do with an operation."""

from types import ModuleType

import pytest
import torch

from compare import compare, run
from operations import Operation, gradient_for


class Suite:
    operation: Operation

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "every_kind" in metafunc.fixturenames:
            metafunc.parametrize("every_kind", self.operation.kinds)

    def inputs(self, *sizes, **options) -> dict:
        return self.operation.inputs(*sizes, **options)

    def kind(self, *sizes, kind: str, **options) -> dict:
        return self.inputs(*sizes, **self.operation.kinds[kind], **options)

    def compare(self, ops: ModuleType, inputs: dict, tolerance: float | None = None) -> None:
        """Output and gradients are the float32 reference's."""
        fused, reference = self.operation.fused(ops), self.operation.reference(ops)
        compare(fused, reference, inputs, gradient_for(inputs), tolerance)

    def results(self, ops: ModuleType, inputs: dict, gradient: torch.Tensor):
        """Output and gradients of the operation and of its reference."""
        fused, reference = self.operation.fused(ops), self.operation.reference(ops)
        return run(fused, inputs, gradient), run(reference, inputs, gradient)
