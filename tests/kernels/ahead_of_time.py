"""Compile every kernel that the operators launch, for a GPU that need not be there.

The host functions run on meta tensors with the kernels replaced by recorders; each recorded
launch is then compiled with the specialisation that the launcher would have chosen: aligned
pointers and multiples of 16 are marked so, ones become constants. Run as a program, it prints one
JSON line a kernel: `python tests/kernels/ahead_of_time.py --arch 90 --layout nchw`.
"""

import argparse
import contextlib
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

TYPES = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.int32: "*i32",
    torch.int16: "*i16",
}
BIN = Path(triton.__file__).parent / "backends/nvidia/bin"


class Recorder:
    """Stands in a kernel's place: `kernel[grid](*args)` is kept, not launched."""

    def __init__(self, kernel, launches: list):
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid):
        def launch(*args, **options):
            self.launches.append((self.kernel, grid, args, options))

        return launch


@contextlib.contextmanager
def recording(*modules):
    """Yield the list of launches that the modules' host functions make meanwhile."""
    launches, old = [], []
    for module in modules:
        for name, value in list(vars(module).items()):
            if isinstance(value, triton.JITFunction) and name.endswith("_kernel"):
                old.append((module, name, value))
                setattr(module, name, Recorder(value, launches))
    try:
        yield launches
    finally:
        for module, name, value in old:
            setattr(module, name, value)


def compile_launch(kernel, args, options, arch: int):
    """The compiled kernel as the launcher would have specialised it."""
    names = list(inspect.signature(kernel.fn).parameters)
    chosen = {"num_warps": 4} | {k: v for k, v in options.items() if k in ("num_warps", "maxnreg")}
    values = dict(zip(names, args, strict=False))
    values |= {k: v for k, v in options.items() if k in names}
    signature, constants, attributes = {}, {}, {}
    marked = set(options) & set(names)
    for i, name in enumerate(names):
        value = values[name]
        if name in marked or value is None or (isinstance(value, int) and value == 1):
            signature[name] = "constexpr"
            constants[(i,)] = value
        elif isinstance(value, torch.Tensor):
            signature[name] = TYPES[value.dtype]
            if value.storage_offset() * value.element_size() % 16 == 0:
                attributes[(i,)] = [["tt.divisibility", 16]]
        elif isinstance(value, float):
            signature[name] = "fp32"
        else:
            signature[name] = "i32" if -(2**31) <= value < 2**31 else "i64"
            if value % 16 == 0:
                attributes[(i,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, attributes)
    return triton.compile(source, target=GPUTarget("cuda", arch, 32), options=chosen)


def report(compiled) -> dict:
    """Registers, stack and local bytes a thread, shared bytes, widest global loads, atomics."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage = subprocess.run(
            [BIN / "cuobjdump", "--dump-resource-usage", file.name],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    counts = {
        key.lower(): int(value) for key, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", usage)
    }
    ptx = compiled.asm["ptx"]
    widths = {
        access: [
            int(lanes or 1) * int(bits) // 8
            for lanes, bits in re.findall(
                rf"\b{access}\.global(?:\.[A-Za-z]\w*(?:::\w+)*)*?(?:\.v(\d))?\.b(\d+)", ptx
            )
        ]
        for access in ("ld", "st")
    }
    copies = re.findall(r"\bcp\.async\.c[ag]\.shared\.global \[[^]]*\], \[[^]]*\], (\w+)", ptx)
    widths["ld"] += [int(width, 0) for width in copies]
    return {
        **counts,
        "shared": compiled.metadata.shared,
        "load_bytes": max(widths["ld"], default=0),
        "store_bytes": max(widths["st"], default=0),
        "wide_loads": widths["ld"].count(16),
        "async_loads": len(copies),
        "atomics": len(re.findall(r"\b(?:atom|red)\.", ptx)),
    }


def cbam_launches(shape, dtype, channels_last: bool, extras: bool) -> list:
    """The launches of CBAM, forward and backward; extras: residual, prologue and batch norm."""
    from dsnet_kernels.cbam import backward, forward

    c = shape[1]
    r = max(1, c // 16)
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def big():
        return torch.empty(shape, dtype=dtype, device="meta", memory_format=layout)

    def weight(*sizes):
        return torch.empty(sizes, device="meta")

    mlp = weight(r, c), weight(r), weight(c, r), weight(c)
    norm = (weight(1), weight(1)) if extras else (None, None)
    residual, folded = (big(), weight(c)) if extras else (None, None)
    with recording(forward, backward) as launches:
        x = big()
        conv = weight(1, 2, 7, 7)
        y, saved = forward.launch_cbam_forward(
            x, *mlp, conv, None, *norm, None, None, extras, 1e-5, residual, folded, folded
        )
        backward.launch_cbam_backward(
            big(), x, y, saved, *mlp, conv, None, norm[0], extras, dtype if extras else None,
            folded, folded,
        )  # fmt: skip
    return launches


def selective_fusion_launches(shape, dtype, channels_last: bool, extras: bool) -> list:
    """The launches of selective fusion; extras: both prologues and batch norm."""
    from dsnet_kernels.selective_fusion import backward, forward

    c = shape[1]
    d = max(c // 16, 32)
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def big():
        return torch.empty(shape, dtype=dtype, device="meta", memory_format=layout)

    def weight(*sizes):
        return torch.empty(sizes, device="meta")

    fc, a, b = weight(d, c), weight(c, d), weight(c, d)
    norm = (weight(d), weight(d)) if extras else (None, None)
    prologue = [weight(c) if extras else None for _ in range(4)]
    with recording(forward, backward) as launches:
        u, v = big(), big()
        _, saved = forward.launch_fusion_forward(
            u, v, fc, None, a, None, b, None, *norm, None, None, extras, 1e-5, *prologue, 0.01
        )
        backward.launch_fusion_backward(
            big(), u, v, saved, fc, a, b, *norm, extras, *prologue, 0.01
        )
    return launches


def compile_apart(*options) -> list[dict]:
    """What the program reports, from a process of its own, in which nothing is interpreted."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, __file__, *map(str, options)],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


OPERATIONS = {"cbam": cbam_launches, "selective_fusion": selective_fusion_launches}
LAYOUTS = ("nchw", "nhwc")
SHAPE = (4, 64, 256, 256)
ODD_SHAPE = (3, 67, 5, 7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--operation", choices=OPERATIONS, nargs="+", default=list(OPERATIONS))
    parser.add_argument("--arch", type=int, nargs="+", default=[90])
    parser.add_argument(
        "--streams-arch", type=int, nargs="+", default=[],
        help="further ones, for the kernels alone that walk a tensor of x's size",
    )  # fmt: skip
    parser.add_argument("--layout", choices=LAYOUTS, nargs="+", default=LAYOUTS)
    parser.add_argument("--dtype", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--shape", type=int, nargs=4, default=SHAPE)
    parser.add_argument("--plain", action="store_true", help="without residual, prologue, norm")
    parser.add_argument("--odd", action="store_true", help="also a shape that nothing divides")
    options = parser.parse_args()
    cases = [
        (options.shape, layout, dtype, options.streams_arch, False)
        for layout in options.layout
        for dtype in options.dtype
    ]
    if options.odd:
        cases.append((ODD_SHAPE, "nchw", "float16", [], True))
    for operation in options.operation:
        for shape, layout, dtype, streams_arch, odd in cases:
            launches = OPERATIONS[operation](
                shape, getattr(torch, dtype), layout == "nhwc", not options.plain
            )
            for kernel, grid, args, given in launches:
                streams = "BLOCK_C" in given and "BLOCK_P" in given
                for arch in options.arch + streams * streams_arch:
                    line = {
                        "operation": operation, "kernel": kernel.fn.__name__, "arch": arch,
                        "layout": layout, "dtype": dtype, "odd": odd, "programs": grid[0],
                    }  # fmt: skip
                    line |= report(compile_launch(kernel, args, given, arch))
                    if streams:
                        values = given["BLOCK_C"] * given["BLOCK_P"]
                        size = getattr(torch, dtype).itemsize
                        # 16-byte loads a thread needs for one tensor's tile.
                        line["tile_loads"] = values * size / (512 * given["num_warps"])
                    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
