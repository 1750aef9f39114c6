"""torch.func and forward-mode differentiation, through the kernels and through the reference."""

import pytest
import torch
import torch.autograd.forward_ad as forward_ad

from suites.suite import Suite


class Transforms(Suite):
    def scalar(self, ops, inputs, name):
        """A function of one of the inputs, and it."""
        fused = self.operation.fused(ops)

        def of(value):
            return fused(**{**inputs, name: value}).square().sum()

        return of, inputs[name].detach()

    def in_double(self, ops, inputs):
        reference = self.operation.reference(ops)
        wide = {
            key: value.detach().double() if isinstance(value, torch.Tensor) else value
            for key, value in inputs.items()
        }
        return reference, wide

    def names(self, inputs):
        first, *_ = inputs
        return [first, next(name for name in inputs if name.endswith("weight"))]

    def small(self, device):
        inputs = self.inputs((2, 6, 5, 4), device=device, hidden=3)
        return {
            key: value.detach() if isinstance(value, torch.Tensor) else value
            for key, value in inputs.items()
        }

    @pytest.mark.parametrize("forward", ["jvp", "dual"])
    def test_a_forward_derivative_is_the_references(self, ops, device, forward):
        inputs = self.small(device)
        reference, wide = self.in_double(ops, inputs)
        for name in self.names(inputs):
            of, value = self.scalar(ops, inputs, name)
            direction = torch.ones_like(value)
            if forward == "jvp":
                got = torch.func.jvp(of, (value,), (direction,))[1]
            else:
                with forward_ad.dual_level():
                    got = forward_ad.unpack_dual(of(forward_ad.make_dual(value, direction))).tangent

            # Along ones: a difference of two values of the reference, in float64.
            def at(step, name=name, value=value):
                moved = {**wide, name: value.double() + step}
                return reference(**moved).square().sum()

            want = (at(1e-6) - at(-1e-6)) / 2e-6
            torch.testing.assert_close(got.double(), want, rtol=1e-3, atol=1e-3)

    def test_func_grad_and_vmap_are_autograds(self, ops, device):
        inputs = self.small(device)
        for name in self.names(inputs):
            of, value = self.scalar(ops, inputs, name)
            batch = torch.stack([value, value + 0.5, 2 * value])
            got = torch.vmap(torch.func.grad(of))(batch)
            values = torch.vmap(of)(batch)
            for k, one in enumerate(batch):
                one = one.clone().requires_grad_()
                y = of(one)
                (want,) = torch.autograd.grad(y, one)
                torch.testing.assert_close(got[k], want, rtol=1e-3, atol=1e-4)
                torch.testing.assert_close(values[k], y.detach(), rtol=1e-3, atol=1e-4)

    def test_gradients_by_vmap_are_those_one_by_one(self, ops, device):
        inputs = self.small(device)
        name = self.names(inputs)[0]
        value = inputs[name].clone().requires_grad_()
        y = self.operation.fused(ops)(**{**inputs, name: value})
        many = torch.randn(3, *y.shape, device=device)

        def back(gradient):
            return torch.autograd.grad(y, value, gradient, retain_graph=True)[0]

        for got, gradient in zip(torch.vmap(back)(many), many, strict=True):
            torch.testing.assert_close(got, back(gradient), rtol=1e-4, atol=1e-5)
