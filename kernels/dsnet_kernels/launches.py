"""Launches of kernels, one after the other; recorded, they are repeated with other tensors."""

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from .launch import OptionalTensor, on_device_of

# Pieces of a buffer begin at whole lines of the cache, in float32 numbers.
LINE = 32


class Pieces(NamedTuple):
    """How tensors share one float32 buffer: each one's first number, shape and dtype; the size."""

    parts: tuple[tuple[int, tuple[int, ...], torch.dtype], ...]
    size: int

    def views(self, buffer: torch.Tensor) -> list[torch.Tensor]:
        """The tensors."""
        return [
            buffer[first:].view(dtype)[: torch.Size(shape).numel()].view(shape)
            for first, shape, dtype in self.parts
        ]


def pieces(*parts: tuple[tuple[int, ...], torch.dtype]) -> Pieces:
    """One buffer for tensors of these shapes and dtypes, of at most four bytes a number."""
    first, found = 0, []
    for shape, dtype in parts:
        found.append((first, shape, dtype))
        count = -(-torch.Size(shape).numel() * dtype.itemsize // 4)
        first += -(-count // LINE) * LINE
    return Pieces(tuple(found), first)


class Launches:
    """Launches kernels, one after the other."""

    def __call__(self, kernel: Any, grid: tuple[int, ...], *args: Any, **options: Any) -> None:
        kernel[grid](*args, **options)

    def scratch(
        self, like: torch.Tensor, *parts: tuple[tuple[int, ...], torch.dtype]
    ) -> list[torch.Tensor]:
        """Unwritten tensors of these shapes and dtypes, needed until the last launch.

        To be called once at most.
        """
        return [torch.empty(shape, dtype=dtype, device=like.device) for shape, dtype in parts]

    def split(self, buffer: torch.Tensor, layout: Pieces) -> list[torch.Tensor]:
        """The tensors in a buffer."""
        return layout.views(buffer)

    def result(self, tensor: torch.Tensor) -> torch.Tensor:
        """Take note of a result, before it is split or a launch gets it."""
        return tensor

    def zero(self, *tensors: torch.Tensor) -> None:
        """Fill all results, in place of launches."""
        for tensor in tensors:
            tensor.zero_()


class Recording(Launches):
    """Launches kernels, and keeps what it takes to launch them again with other tensors.

    Parameters
    ----------
    given : sequence of Tensor or None
        What the launches may read, each an object of its own.
    """

    def __init__(self, given: Sequence[OptionalTensor]):
        # By identity: the base that a tensor lies in, and how many bytes behind its beginning.
        self.places = {id(t): (i, 0) for i, t in enumerate(given) if t is not None}
        # As long as a tensor is there no other has its identity.
        self.alive = [t for t in given if t is not None]
        self.inputs = len(given)
        self.results: list[torch.Tensor] = []
        self.scratch_size: int | None = None
        self.launches: list[tuple[Any, list[Any]]] = []
        self.complete, self.zeroed = True, False

    def result(self, tensor):
        self._place(tensor, self.inputs + len(self.results), 0)
        self.results.append(tensor)
        return tensor

    def scratch(self, like, *parts):
        layout = pieces(*parts)
        buffer = torch.empty(layout.size, dtype=torch.float32, device=like.device)
        # The last base, which no result may follow.
        self._place(buffer, -1, 0)
        self.scratch_size = layout.size
        return self.split(buffer, layout)

    def split(self, buffer, layout):
        views = layout.views(buffer)
        base, offset = self.places.get(id(buffer), (None, 0))
        for (first, _, _), view in zip(layout.parts, views, strict=True):
            if base is not None:
                self._place(view, base, offset + 4 * first)
        return views

    def zero(self, *tensors):
        super().zero(*tensors)
        self.zeroed = True

    def __call__(self, kernel, grid, *args, **options):
        compiled = kernel[grid](*args, **options)
        signature = getattr(getattr(compiled, "src", None), "signature", None)
        if signature is None:
            # Interpreted.
            self.complete = False
            return
        values = dict(zip(kernel.arg_names, args, strict=False)) | options
        # Triton before 3.3 takes no constants where it launches, and lists none.
        wanted = [values[name] for name in kernel.arg_names if name in signature]
        for value in wanted:
            if isinstance(value, torch.Tensor) and id(value) not in self.places:
                # A copy made on the way, or made by an operator of PyTorch: not ours to repeat.
                self.complete = False
        self.launches.append((compiled[(*grid, 1, 1)[:3]], wanted))

    def _place(self, tensor: torch.Tensor, base: int, offset: int) -> None:
        self.places[id(tensor)] = base, offset
        self.alive.append(tensor)

    def replay(self) -> "Replay | None":
        """What does the same again; None where something else than launches was done."""
        if not self.complete:
            return None
        bases = self.inputs + len(self.results) + (self.scratch_size is not None)
        carved = sorted({place for place in self.places.values() if place[1]})
        where = {place: bases + i for i, place in enumerate(carved)}
        constants: list[Any] = []
        launches = []
        for run, wanted in self.launches:
            picked = []
            for value in wanted:
                if isinstance(value, torch.Tensor):
                    base, offset = self.places[id(value)]
                    picked.append(where[base, offset] if offset else base % bases)
                else:
                    picked.append(bases + len(carved) + len(constants))
                    constants.append(value)
            launches.append((run, operator.itemgetter(*picked)))
        made = [(t.shape, t.stride(), t.dtype) for t in self.results]
        device = self.results[0].device
        return Replay(
            made, device, self.scratch_size, carved, constants, launches, self.zeroed,
        )  # fmt: skip


class Replay(NamedTuple):
    """Launches to do again: of results' layouts, of pointers and constants in one list of values.

    made: shape, stride and dtype of each result. carved: base and bytes behind its beginning, of
    pointers within bases, which are what is given, the results, and the scratch memory. launches:
    a compiled kernel with its grid, and what picks its arguments from the values.
    """

    made: list[tuple[torch.Size, tuple[int, ...], torch.dtype]]
    device: torch.device
    scratch_size: int | None
    carved: list[tuple[int, int]]
    constants: list[Any]
    launches: list[tuple[Callable[..., None], Callable[[list], tuple]]]
    zeroed: bool

    def __call__(self, given: Sequence[OptionalTensor]) -> list[torch.Tensor]:
        """The results for these tensors, which are described as those of the recording were."""
        if self.zeroed:
            return [
                torch.zeros(shape, dtype=dtype, device=self.device)
                if shape.numel()
                else torch.empty_strided(shape, stride, dtype=dtype, device=self.device)
                for shape, stride, dtype in self.made
            ]
        results = [
            torch.empty_strided(shape, stride, dtype=dtype, device=self.device)
            for shape, stride, dtype in self.made
        ]
        values: list[Any] = [0 if t is None else t.data_ptr() for t in given]
        values += [t.data_ptr() for t in results]
        if self.scratch_size is not None:
            scratch = torch.empty(self.scratch_size, dtype=torch.float32, device=self.device)
            values.append(scratch.data_ptr())
        bases = values[:]
        values += [bases[base] + offset for base, offset in self.carved]
        values += self.constants
        with on_device_of(results[0]):
            for run, pick in self.launches:
                run(*pick(values))
        return results
