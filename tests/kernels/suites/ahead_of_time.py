"""What the compiler makes of the kernels, for GPUs that need not be there."""

import pytest

from ahead_of_time import compile_apart
from suites.suite import Suite

SHARED_BYTES = {80: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024}


class AheadOfTime(Suite):
    def compile_all(self, *options) -> list[dict]:
        return compile_apart("--operation", self.operation.name, *options)

    def check_all(self, lines: list[dict], plain: bool) -> None:
        assert {line["kernel"] for line in lines} >= set(self.operation.streams)
        for line in lines:
            assert line["stack"] == line["local"] == 0, line
            assert line["shared"] <= SHARED_BYTES[line["arch"]], line
            assert line["atomics"] == 0, line
            if line["kernel"] in self.operation.streams:
                tensors, writes = self.operation.streams[line["kernel"]]
                assert line["wide_loads"] >= tensors[plain] * line["tile_loads"], line
                assert line["store_bytes"] == 16 or not writes[plain], line

    @pytest.fixture(scope="class")
    def compiled(self):
        """A shape of the network with every option, for three generations of GPU; an odd one.

        The small kernels, which walk no image, for the oldest alone, where they want the most
        registers; `test_no_spills_at_any_shape` has them for the others.
        """
        lines = self.compile_all(
            "--dtype", "bfloat16", "--arch", 80, "--streams-arch", 90, 100, "--odd"
        )
        return [[line for line in lines if line["odd"] == odd] for odd in (False, True)]

    def test_no_spills_and_wide_loads(self, compiled):
        lines, _ = compiled
        assert len(lines) == 2 * (self.operation.kernels + 2 * len(self.operation.streams))
        self.check_all(lines, plain=False)

    @pytest.mark.long
    @pytest.mark.parametrize("shape", [(4, 64, 256, 256), (4, 128, 128, 128), (16, 256, 64, 64),
                                       (1, 512, 32, 32)])  # fmt: skip
    @pytest.mark.parametrize("plain", [False, True])
    def test_no_spills_at_any_shape(self, shape, plain):
        options = ["--plain"] if plain else []
        dtypes = "bfloat16", "float16", "float32"
        lines = self.compile_all(
            "--shape", *shape, "--arch", 80, 90, 100, "--dtype", *dtypes, *options
        )
        self.check_all(lines, plain)

    def test_odd_sizes_compile(self, compiled):
        """Nothing is divisible by anything."""
        _, lines = compiled
        assert len(lines) == self.operation.kernels

    @pytest.mark.long
    def test_strides_of_64_bits_compile(self):
        lines = self.compile_all("--shape", 2, 2112, 1024, 1024, "--dtype", "bfloat16")
        for line in lines:
            if line["kernel"] in self.operation.streams:
                assert line["wide_loads"] >= line["tile_loads"], line
