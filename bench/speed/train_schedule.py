"""What `torch.compile` makes of a training step on a GPU that need not be there.

`python -m bench.speed.train_schedule --row fast` traces one adversarial step, lets inductor
schedule its graph for sm_90, and adds up what the scheduled kernels read and write. Nothing is
computed and no kernel is built. It needs torch 2.13: inductor is told of a device that is absent,
by replacing functions that are not its public ones.

A fused operation counts its inputs and outputs once, a convolution's backward pass as one kernel.
"""

from __future__ import annotations

import argparse
import os
import sys
import types
from collections import defaultdict
from functools import partial

import torch
import torch._dynamo.device_interface as device_interface
import torch._inductor.config
import torch._inductor.fx_passes.joint_graph as joint_graph
import torch._inductor.fx_passes.reinplace as reinplace
import torch._inductor.scheduler
from rich.console import Console
from rich.table import Table
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch._inductor.compile_fx import compile_fx_inner
from torch._inductor.decomposition import select_decomp_table
from torch._inductor.graph import GraphLowering
from torch._prims_common import suggest_memory_format

import dsnet_kernels  # noqa: F401  (its submodules carry the names of its functions)
from bench.speed.train import ROWS, Row
from bench.speed.train_parts import make, plain
from dsnet.training.settings import RECIPES
from dsnet.training.step import AdversarialStep, Batch, compiler_options

H100 = types.SimpleNamespace(
    name="H100", major=9, minor=0, multi_processor_count=132, warp_size=32, gcnArchName="",
    total_memory=80 * 2**30, L2_cache_size=50 * 2**20, regs_per_multiprocessor=65536,
    max_threads_per_multi_processor=2048, max_threads_per_block=1024,
    shared_memory_per_block=49152, shared_memory_per_block_optin=232448,
    shared_memory_per_multiprocessor=233472, clock_rate=1_980_000,
)  # fmt: skip
CUDA = torch.device("cuda", 0)


class Scheduled(Exception):
    """Ends the compilation where code would be written."""


class Schedule:
    """Kernels and bytes by kind, of the graphs compiled so far."""

    def __init__(self):
        self.kernels, self.bytes = defaultdict(int), defaultdict(int)

    def add(self, graph: GraphLowering) -> None:
        graph._update_scheduler()
        for node in graph.scheduler.nodes:
            name = "generated"
            if node.is_extern():
                kernel = getattr(node.node, "python_kernel_name", None)
                if kernel is None:  # One of several results of the kernel before it.
                    continue
                name = str(kernel).removeprefix("extern_kernels.").removeprefix("torch.ops.")
            elif type(node).__name__.startswith("Nop"):
                continue
            self.kernels[name] += 1
            self.bytes[name] += node.get_read_write_buffers_sizes()
        raise Scheduled


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.speed.train_schedule", description=__doc__.splitlines()[0]
    )
    rows = [name for name, row in ROWS.items() if row.compile and not row.cuda_graphs]
    parser.add_argument("--row", default="fast", choices=rows, help="of bench.speed.train")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--size", type=int, default=64, help="pixels a side of a crop")
    parser.add_argument("--batch", type=int, help="the recipe's by default")
    options = parser.parse_args()
    row = ROWS[options.row]
    recipe = RECIPES[row.recipe]
    batch = options.batch or recipe["batch"]
    schedule = count({"width": options.width}, batch, options.size, recipe, row)
    table = Table(title=f"{options.row}, batch {batch}, scheduled for sm_90, nothing measured")
    for k, column in enumerate(("kernel", "number", "GB an image")):
        table.add_column(column, justify="right" if k else "left")
    for name in sorted(schedule.bytes, key=schedule.bytes.get, reverse=True):
        per_image = schedule.bytes[name] / batch / 1e9
        table.add_row(name, str(schedule.kernels[name]), f"{per_image:.3f}")
    total = sum(schedule.bytes.values()) / batch / 1e9
    table.add_row("all", str(sum(schedule.kernels.values())), f"{total:.3f}", style="bold")
    Console(width=110).print(table)


def count(shape: dict, batch: int, size: int, recipe: dict, row: Row) -> Schedule:
    """The schedule of one step's forward and backward pass; replaces parts of torch for good."""
    schedule = Schedule()
    pretend(schedule)
    network, judge = make(shape)
    if not row.ours:
        plain(network)
    last = row.channels_last or recipe.get("channels_last", False)
    memory = torch.channels_last if last else torch.contiguous_format
    step = AdversarialStep(
        network.to(memory_format=memory), judge.to(memory_format=memory),
        precision=recipe["precision"],
    )  # fmt: skip
    options = compiler_options(network)
    backend = aot_autograd(
        fw_compiler=partial(compile_for_gpu, options=options, backward=False),
        bw_compiler=partial(compile_for_gpu, options=options, backward=True),
        decompositions=select_decomp_table(), partition_fn=partition,
    )  # fmt: skip
    objective = step.objective
    objective.compute = torch.compile(
        objective.compute, backend=backend, fullgraph=True, dynamic=False
    )
    image = torch.empty(batch, 1, size, size).contiguous(memory_format=memory)
    soft = torch.empty(batch, 1, size, size)
    objective(*Batch(image, soft, soft >= 0.5))[0].backward()
    return schedule


def pretend(schedule: Schedule) -> None:
    """Tell inductor of an H100, and end its work with the schedule."""
    cuda, interface = torch.cuda, device_interface.CudaInterface
    properties = lambda device=None: H100  # noqa: E731
    cuda.get_device_properties = interface.get_device_properties = properties
    interface.Worker.get_device_properties = staticmethod(properties)
    interface.Worker.current_device = staticmethod(lambda: 0)
    cuda.get_device_capability = lambda device=None: (H100.major, H100.minor)
    cuda.device_count = interface.device_count = lambda: 1
    cuda.current_device = interface.current_device = lambda: 0
    # Each a function of its own: they are keys of a table.
    cuda._exchange_device = lambda device: 0
    cuda._maybe_exchange_device = lambda device: 0
    cuda.synchronize = lambda *_: None
    cuda._lazy_init = lambda: None
    cuda.get_rng_state = lambda *_: torch.zeros(8, dtype=torch.uint8)
    cuda.set_rng_state = lambda *_, **__: None
    torch._inductor.scheduler.has_triton = lambda *_: True
    # Of tensors on two devices, one of them absent, this pass takes the shapes to differ.
    reinplace.canonicalize_view_scatter_ops = lambda graph: None
    torch._C._conv_determine_backend_memory_format = cudnn_layout
    GraphLowering.compile_to_module = lambda graph: schedule.add(graph)
    for name in ("cbam", "selective_fusion"):
        sys.modules[f"dsnet_kernels.{name}.op"].runs_kernels = lambda *_: True


def cudnn_layout(image, weight, backend) -> torch.memory_format:
    formats = suggest_memory_format(image), suggest_memory_format(weight)
    return torch.channels_last if torch.channels_last in formats else torch.contiguous_format


def partition(joint, *args, **keywords):
    joint_graph.joint_graph_passes(joint)
    return min_cut_rematerialization_partition(joint, *args, **keywords)


def compile_for_gpu(graph, inputs, *, options: dict, backward: bool):
    """Schedule the graph as if it lay on the GPU; returns a function without contents."""
    outputs = next(iter(reversed(graph.graph.nodes))).args[0]
    values = [node.meta["val"] if isinstance(node, torch.fx.Node) else node for node in outputs]
    moved = move(graph, inputs)
    available = torch.cuda.is_available
    torch.cuda.is_available = lambda: True
    try:
        with torch._inductor.config.patch({"fx_graph_cache": False, **options}):
            compile_fx_inner(graph, moved, is_backward=backward)
    except Exception as error:
        if "Scheduled" not in repr(error) and not isinstance(error, Scheduled):
            raise
    finally:
        torch.cuda.is_available = available

    def run(arguments):
        arguments.clear()
        return [
            torch.empty_strided(v.shape, v.stride(), dtype=v.dtype) if torch.is_tensor(v) else v
            for v in values
        ]

    run._boxed_call = True
    return run


def move(graph, inputs) -> list:
    """Make a traced graph and its inputs ones on the GPU."""
    tensors = (node.meta.get("val") for node in graph.graph.nodes)
    mode = next(value.fake_mode for value in tensors if torch.is_tensor(value))
    with mode:
        moved = [
            torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=CUDA)
            if torch.is_tensor(x)
            else x
            for x in inputs
        ]
        following = iter(moved)
        for node in graph.graph.nodes:
            if node.kwargs.get("device") is not None:
                node.kwargs = {**node.kwargs, "device": CUDA}
            if node.op == "placeholder":
                node.meta["val"] = next(following)
            elif node.op == "call_function":
                args, keywords = torch.fx.map_arg((node.args, node.kwargs), lambda n: n.meta["val"])
                node.meta["val"] = node.target(*args, **keywords)
    graph.recompile()
    return moved


if __name__ == "__main__":
    os.environ.setdefault("TORCHINDUCTOR_FX_GRAPH_CACHE", "0")
    main()
