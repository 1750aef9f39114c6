"""What every operation needs to launch: Triton where it is there, memory layouts, tile sizes."""

import contextlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    # A kernel is another language in Python's clothes: a type checker shall not read it as Python.
    triton: Any = None

    class tl(Any): ...
else:
    try:
        import triton
        import triton.language as tl
    except ImportError:

        class _Absent:
            """Lets the kernels' decorators and annotations stand where Triton is not installed."""

            constexpr = int

            @staticmethod
            def jit(function):
                return function

        triton = tl = _Absent()

HAS_TRITON = hasattr(triton, "language")
# Triton before 3.4 has no knobs and reads the variable at every use.
INTERPRETED = HAS_TRITON and (
    bool(triton.knobs.runtime.interpret)
    if hasattr(triton, "knobs")
    else os.environ.get("TRITON_INTERPRET", "0") == "1"
)
# One object for all: to torch.fx of 2.6 two unions that are equal are two types of one name.
OptionalTensor = torch.Tensor | None
KERNEL_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
MOST_SPLITS = 256
# Kernels keep a sample's pixel index, and a block's lane times the pixel stride, in 32 bits.
MOST_PIXELS = 2**30
# One program holds a sample's pooled channels; their index fits 16 bits.
MOST_CHANNELS = 2**15 - 1
MOST_STRIDE = 2**18
# NVIDIA's assembler spills a register or two for one more program a multiprocessor, unless told
# how many programs there may be; ROCm knows no such option.
SPARE_REGISTERS = {} if torch.version.hip else {"maxnreg": 128}
# Every copy of this package has its own operators: a process may hold an installed copy and one
# loaded by another project, under another name.
NAMESPACE = "".join(c if c.isalnum() else "_" for c in (__package__ or __name__))


class Tile(NamedTuple):
    """What one program holds at a time: channels x pixels, on so many warps.

    Loops over pixels load so many stages ahead, less one.
    """

    channels: int
    pixels: int
    warps: int
    stages: int = 3


# By whether channels are the contiguous axis. The first is the default; `tune` may pick another.
TILES = {
    False: (Tile(4, 512, 4), Tile(4, 512, 4, 1), Tile(8, 512, 8), Tile(8, 512, 8, 1)),
    True: (Tile(64, 32, 4), Tile(64, 32, 4, 1), Tile(64, 64, 8), Tile(64, 64, 8, 1)),
}
# Programs a sample: several a multiprocessor even for one sample, few enough to join cheaply.
PROGRAMS = 512
_chosen: dict[tuple[str, bool], Tile] = {}


class Walk(NamedTuple):
    """How the programs of a streaming kernel cover a tensor [N, C, P]."""

    block_c: int
    block_p: int
    warps: int
    c_blocks: int
    p_blocks: int
    chunk: int
    splits: int
    stages: int


def walk(operation: str, channels_last: bool, channels: int, pixels: int) -> Walk:
    """Blocks, and pixel chunks for the kernels that reduce over pixels.

    Nothing here depends on the batch, so that a sample's result does not either.
    """
    tile = _chosen.get((operation, channels_last), TILES[channels_last][0])
    block_c = min(tile.channels, power_of_two(channels))
    block_p = min(tile.pixels * max(1, tile.channels // block_c), max(16, power_of_two(pixels)))
    c_blocks, p_blocks = ceil_div(channels, block_c), ceil_div(pixels, block_p)
    chunk = ceil_div(p_blocks, min(MOST_SPLITS, max(1, PROGRAMS // c_blocks))) * block_p
    splits = ceil_div(pixels, chunk)
    return Walk(block_c, block_p, tile.warps, c_blocks, p_blocks, chunk, splits, tile.stages)


def walk_across(
    operation: str, channels_last: bool, channels: int, pixels: int, tensors: int = 1
) -> Walk:
    """Blocks for the kernels that reduce over channels: one program holds all of its pixels'.

    With few pixels a program takes fewer of them and more channels at a time, so that there are
    programs enough and none has a long way through the channels. A kernel that reads several
    tensors of x's size takes half the channels, for want of registers.
    """
    warps = _chosen.get((operation, channels_last), TILES[channels_last][0]).warps
    values = 1024 * warps
    if channels_last:
        block_c = min(128, power_of_two(channels))
    else:
        block_c = min(values // (128 if pixels >= 2**14 else 64 if pixels >= 2**12 else 32),
                      power_of_two(channels))  # fmt: skip
    block_p = min(1024, values // block_c, max(16, power_of_two(pixels)))
    block_c = ceil_div(block_c, 1 if tensors == 1 else 2)
    c_blocks, p_blocks = ceil_div(channels, block_c), ceil_div(pixels, block_p)
    return Walk(block_c, block_p, warps, c_blocks, p_blocks, block_p, p_blocks, 1)


def choose_tile(operation: str, channels_last: bool, tile: Tile | None) -> None:
    """Use this tile from now on; None goes back to the default."""
    if tile is None:
        _chosen.pop((operation, channels_last), None)
    else:
        _chosen[operation, channels_last] = Tile(*tile)


def tile_choices() -> tuple:
    """What `walk` goes by besides its arguments."""
    return PROGRAMS, *_chosen.items()


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def power_of_two(value: int) -> int:
    """The least power of two that is not below the value."""
    return 1 << max(0, value - 1).bit_length()


def runs_kernels(*tensors: torch.Tensor) -> bool:
    """Whether these tensors go to the Triton kernels; if not, the reference takes them."""
    if any(t.dtype not in KERNEL_DTYPES for t in tensors):
        return False
    # Before the sizes, which a graph that is exported does not know.
    if not (tensors[0].is_cuda or (INTERPRETED and tensors[0].device.type == "cpu")):
        return False
    if tensors[0].dim() == 4:
        _, c, h, w = tensors[0].shape
        if c > MOST_CHANNELS or h * w > MOST_PIXELS:
            return False
    if tensors[0].is_cuda and not HAS_TRITON:
        raise RuntimeError(
            "the fused operations need Triton on CUDA tensors: pip install triton, or call "
            "the reference function instead"
        )
    return True


def is_channels_last(x: torch.Tensor) -> bool:
    """Whether channels are the contiguous axis of [N, C, H, W]."""
    if x.is_contiguous():
        return False
    if x.is_contiguous(memory_format=torch.channels_last):
        return True
    _, c, _, w = x.shape
    return c > 1 and x.stride(1) == 1 and _collapses(x) and x.stride(3 if w > 1 else 2) >= c


def memory_format(x: torch.Tensor) -> torch.memory_format:
    return torch.channels_last if is_channels_last(x) else torch.contiguous_format


def _collapses(x: torch.Tensor) -> bool:
    _, _, h, w = x.shape
    return h == 1 or w == 1 or x.stride(2) == w * x.stride(3)


def dense(x: torch.Tensor, channels_last: bool) -> torch.Tensor:
    """x itself where the kernels can walk it in this layout, else a copy in this layout."""
    _, c, h, w = x.shape
    pixel = x.stride(3) if w > 1 else x.stride(2)
    if channels_last:
        ready = (c == 1 or x.stride(1) == 1) and _collapses(x)
        ready = ready and (h * w == 1 or c <= pixel < MOST_STRIDE)
        return x if ready else x.contiguous(memory_format=torch.channels_last)
    ready = _collapses(x) and (h * w == 1 or pixel == 1)
    return x if ready else x.contiguous()


def packed(*tensors: torch.Tensor | None) -> list[torch.Tensor | None]:
    """Parameters as the kernels read them: without gaps."""
    return [None if t is None else t.contiguous() for t in tensors]


def strides(x: torch.Tensor, channels_last: bool) -> tuple[int, int, int]:
    """Strides over sample, channel and pixel of what `dense` returned."""
    _, c, h, w = x.shape
    if channels_last:
        pixel = x.stride(3) if w > 1 else x.stride(2) if h > 1 else c
        return x.stride(0), 1, pixel
    return x.stride(0), x.stride(1), 1


def empty_like_shape(x: torch.Tensor, channels_last: bool, dtype=None) -> torch.Tensor:
    """Unwritten memory of x's shape, dense, in this layout."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(x.shape, dtype=dtype or x.dtype, device=x.device, memory_format=layout)


def on_device_of(x: torch.Tensor):
    """Triton launches on the current device: make it x's."""
    if not x.is_cuda or x.device.index == torch.cuda.current_device():
        return contextlib.nullcontext()
    return torch.cuda.device(x.device)


def check(
    name: str, tensor: Any, shape: tuple[int, ...], like: torch.Tensor, optional: bool = False
) -> None:
    """Raise unless the tensor has this shape and lies on the same device; -1 is any size."""
    if tensor is None and optional:
        return
    if not isinstance(tensor, torch.Tensor):
        got = "None" if tensor is None else f"a {type(tensor).__name__}"
        raise TypeError(f"{name} must be a tensor of shape {_spelt(shape)}, got {got}")
    fits = tensor.dim() == len(shape) and all(
        want in (-1, got) for got, want in zip(tensor.shape, shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{name} must have shape {_spelt(shape)}, got {list(tensor.shape)}")
    if not tensor.dtype.is_floating_point:
        raise TypeError(f"{name} must be a floating-point tensor, got {tensor.dtype}")
    if tensor.device != like.device:
        raise ValueError(f"{name} must be on {like.device} as the input, got {tensor.device}")


def _spelt(shape: tuple[int, ...]) -> str:
    return f"[{', '.join('any' if size == -1 else str(size) for size in shape)}]"


def at_least_1(**sizes: int) -> None:
    """Raise for a size below 1, by its name."""
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def tune(operation: str, channels_last: bool, measure: Callable[[], float]) -> dict[Tile, float]:
    """Keep the tile under which `measure()` is least, for this process; every tile's measure."""
    before = _chosen.get((operation, channels_last))
    measured = {}
    try:
        for tile in TILES[channels_last]:
            choose_tile(operation, channels_last, tile)
            measured[tile] = measure()
        before = min(measured, key=measured.__getitem__)
    finally:
        choose_tile(operation, channels_last, before)
    return measured


def gpu_milliseconds(run: Callable[[], None], repeats: int = 20) -> float:
    """Median time of `run()` on the current CUDA stream, after two runs that are not counted."""
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    run()
    run()
    for start, end in events:
        start.record()
        run()
        end.record()
    torch.cuda.synchronize()
    return sorted(start.elapsed_time(end) for start, end in events)[repeats // 2]


class Random(NamedTuple):
    """Makers of random tensors: of an operation's images and of its float32 parameters."""

    image: Callable[..., torch.Tensor]
    weight: Callable[..., torch.Tensor]


def random_tensors(
    dtype: torch.dtype, channels_last: bool, device: torch.device | str, gradients: bool
) -> Random:
    """Makers of what a warm-up gives an operation, from sizes to a tensor.

    Raises
    ------
    ValueError
        For a device and a dtype that run no kernels.
    """
    if not runs_kernels(torch.empty(0, dtype=dtype, device=device)):
        raise ValueError(
            f"device and dtype must be ones that run kernels, got {device} and {dtype}: nothing "
            "would be compiled"
        )
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def image(*sizes: int) -> torch.Tensor:
        values = torch.randn(sizes, device=device, dtype=dtype)
        return values.contiguous(memory_format=layout).requires_grad_(gradients)

    def weight(*sizes: int) -> torch.Tensor:
        return torch.randn(sizes, device=device, requires_grad=gradients)

    return Random(image, weight)


def warm_up(
    operation: Callable[..., torch.Tensor],
    calls: list[dict[str, Any]],
    *,
    channels_last: bool,
    backward: bool,
    find_tile: bool,
) -> dict[Tile, float]:
    """Run the operation with each of these arguments, or time it under each tile.

    Returns milliseconds of all calls together for each tile; empty without `find_tile`.
    """

    def run() -> None:
        for given in calls:
            out = operation(**given)
            if backward:
                tensors = [value for value in given.values() if isinstance(value, torch.Tensor)]
                leaves = [tensor for tensor in tensors if tensor.requires_grad]
                torch.autograd.grad(out, leaves, torch.ones_like(out))

    if not calls:
        return {}
    first = next(iter(calls[0].values()))
    with on_device_of(first), torch.enable_grad():
        if find_tile:
            return tune(operation.__name__, channels_last, lambda: gpu_milliseconds(run))
        run()
    return {}


def no_autocast(x: torch.Tensor):
    """A context in which autocast leaves x's device alone."""
    kind = x.device.type
    # torch.compile of torch 2.6 knows no is_autocast_available.
    if kind in ("cpu", "cuda") or torch.amp.is_autocast_available(kind):
        return torch.autocast(kind, enabled=False)
    return contextlib.nullcontext()
