"""Jobs for worker processes: they import this module by name, which a test module has not."""

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from dsnet.data.store.record import LabelRecord


@dataclass(frozen=True)
class Job:
    """A job that does what it is told to."""

    number: int
    deed: str = ""
    place: Path | None = None

    @property
    def rows(self):
        return [(f"{self.number}-{part}", "nowhere") for part in "ab"]

    def run(self):
        if self.deed == "die":
            os._exit(9)
        if self.deed.startswith("die "):
            # As often as it says: a file a death.
            deaths = len(list(self.place.parent.glob(f"{self.place.name}-*")))
            if deaths < int(self.deed.split()[1]):
                self.place.with_name(f"{self.place.name}-{deaths}").touch()
                os._exit(9)
        if self.deed == "unsendable":
            return [threading.Lock()]
        if self.deed == "raise":
            raise OverflowError("too much")
        if self.deed.startswith("tell "):
            told = os.environ.get(self.deed.split()[1], "none")
            return [LabelRecord.from_error(key, source, told) for key, source in self.rows]
        if self.deed == "meet":
            self.place.touch()
        limit = time.monotonic() + 600
        while self.deed == "wait" and not self.place.exists():
            assert time.monotonic() < limit, f"nobody came to {self.place}"
            time.sleep(0.01)
        return [LabelRecord.from_error(key, source, "fine") for key, source in self.rows]

    def read(self):
        return self.run()


@dataclass(frozen=True)
class GpuJob:
    """A row that tells which GPU its process sees, once there is a process with each."""

    number: int
    place: Path
    gpus: int

    @property
    def rows(self):
        return [(str(self.number), "nowhere")]

    def read(self):
        from dsnet.labeling.gpu import engine

        engine.device_count = lambda: 1  # Of what this process may see.
        mine = os.environ["CUDA_VISIBLE_DEVICES"]
        (self.place / mine).touch()
        limit = time.monotonic() + 600
        while len(list(self.place.iterdir())) < self.gpus:
            assert time.monotonic() < limit, f"only {list(self.place.iterdir())} came"
            time.sleep(0.01)
        return [LabelRecord.from_error(key, source, mine) for key, source in self.rows]


def gradients_of_a_step(rank: int, world: int, meeting: str, out: str) -> None:
    """One adversarial step in one of several processes; its gradients go to `out`."""
    import torch
    import torch.distributed as dist

    from dsnet.models import build
    from dsnet.training.dataset import DeviceDataset
    from dsnet.training.step import AdversarialStep, Batch

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
    import torch
    import torch.distributed as dist

    from dsnet.training.dataset import DeviceDataset
    from dsnet.training.settings import Settings
    from dsnet.training.validation import validate

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
