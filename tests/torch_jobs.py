"""What several processes do together over gloo."""

import multiprocessing
import os
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.distributed as dist

from dsnet.models import build
from dsnet.training.dataset import DeviceDataset
from dsnet.training.settings import Settings
from dsnet.training.step import AdversarialStep, Batch
from dsnet.training.validation import validate


def run_together(target, calls):
    """Call `target` with each of several tuples of arguments, in a process each, all at once.

    The processes are forked from one that has imported torch: an import takes longer than a call.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dsnet.training.step", "dsnet.training.validation"])
    processes = [context.Process(target=target, args=arguments) for arguments in calls]
    for process in processes:
        process.start()
    for process in processes:
        process.join(600)
        assert process.exitcode == 0


def gradients_of_a_step(rank: int, world: int, meeting: str, out: str) -> None:
    """One adversarial step in one of several processes; its gradients go to `out`."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = build(width=8, depth=2, reduction=4, teacher_blocks=1, teacher_features=8)
    data = DeviceDataset.phantoms(4, 16)
    pairs = [Batch(*(t[i : i + 2] for t in (data.image, data.soft, data.binary))) for i in (0, 2)]
    if world > 1:
        dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=world)
        step = AdversarialStep(network, distributed=True, average=0.9)
        step.run(pairs[rank : rank + 1])
    else:
        step = AdversarialStep(network, accumulate=2, average=0.9)
        step.run(pairs)
    parameters = [*network.trainable_parameters(), *step.discriminator.parameters()]
    average = step.result.trainable_parameters()
    torch.save(([p.grad for p in parameters], [p.detach() for p in average]), out)
    if world > 1:
        # Taking the group down holds the GIL, for which gloo's thread may still wait: the process
        # ends without.
        dist.barrier()
        os._exit(0)


def validation_of_a_network(rank: int, world: int, cases: int, meeting: str, out: str) -> None:
    """Validate a network in one of several processes; what it says goes to `out`."""
    torch.set_num_threads(1)
    # The image itself is its answer: the same bits whatever else is in the batch.
    network = torch.nn.Identity()
    network.config = SimpleNamespace(scale=1)
    data = DeviceDataset.phantoms(cases, 16)
    if world > 1:
        dist.init_process_group("gloo", f"file://{meeting}", rank=rank, world_size=world)
    panel = Path(f"{out}.png")
    found = validate(network, data, Settings(batch=1), rank, world, panel)
    torch.save(tuple(found), out)
    if world > 1:
        dist.barrier()
        os._exit(0)
