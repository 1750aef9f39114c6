"""A training of DSNet or a rung of its ablation, from settings to a folder of results.

Public
------
``train(settings) -> dict``
``NotFinite``

Reads top to bottom: `train` sets up device, data, network and step, then runs the epochs. In the
folder ``settings.out``: ``best.pt`` and ``last.pt`` (`dsnet.models.load_model` reads them),
``checkpoint.pt`` (``resume``), ``settings.json``, ``split.json``, ``patients.json``, ``log.csv``,
``validation.csv``, ``panel.png``. Without ``data`` it trains on phantoms.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from dsnet.arguments import Range
from dsnet.console import Stop, printable, require_no_file
from dsnet.data.crop_settings import of_phantoms, of_store
from dsnet.data.patients import unknown_patients_note
from dsnet.data.store.lock import writing
from dsnet.data.store.reviewed import AS_MADE, review_note
from dsnet.devices import torch_device, use_threads
from dsnet.files import write_json
from dsnet.models import (
    DSNet,
    PixelDiscriminator,
    SROutputs,
    build,
    load_model,
    save_model,
)
from dsnet.training.augment import Augmentation, apply, draw, symmetry
from dsnet.training.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from dsnet.training.dataset import DeviceDataset, epoch_order, fold_split, split_by_patient
from dsnet.training.marks import DRAWS
from dsnet.training.memory import require_memory
from dsnet.training.report import Log
from dsnet.training.settings import SOFT_LOSS, Settings, check, write
from dsnet.training.step import (
    AdversarialStep,
    Batch,
    StepLosses,
    autocast,
    compiled_graphs,
    learning_rate,
)
from dsnet.training.validation import validate

# Settings that decide the course of a run: a resumed one must have the same.
COURSE = (
    "data", "size", "phantoms", "min_quality", "shares", "folds", "fold", "augment", "batch",
    "accumulate", "epochs", "lr", "warmup", "precision", "seed", "variant", "scale", "width",
    "depth", "reduction", "judge_width", "teacher", "data_seed", "soft_weight", "gan_weight",
    "soft_loss",
    "average", "neighbours", "mark_input", "reviewed",
)  # fmt: skip
WARM_UP_STEPS = 2


class NotFinite(RuntimeError):
    """A loss became NaN or infinite."""


def train(settings: Settings) -> dict:
    """Train as `settings` say.

    Returns
    -------
    dict
        The closing summary: ``steps``, ``best_dice``, ``images_per_s``, ``seconds``, ``stopped``.

    Raises
    ------
    NotFinite
        When a loss is; the last good checkpoint is kept.
    ValueError
        For settings that do not fit the data, or a checkpoint of other settings.
    """
    check(settings)
    joined = dist.is_initialized()
    try:
        with Stop() as stop, ExitStack() as held:
            return _train(settings, stop, held)
    finally:
        if dist.is_initialized() and not joined:
            dist.destroy_process_group()


def _train(settings: Settings, stop: Stop, held: ExitStack) -> dict:
    rank, world, device = _place(settings)
    out, chief = Path(settings.out), rank == 0
    require_no_file(out, "--out")
    torch.manual_seed(settings.seed)

    # Data: everything on the device, split by patients.
    if settings.data:
        crop = of_store(settings.data, settings.size)
        quality = settings.min_quality or None
        data = DeviceDataset.from_store(
            settings.data, device, settings.size or None, quality, settings.neighbours,
            settings.reviewed,
        )  # fmt: skip
    else:
        crop = of_phantoms(settings.size or 64)
        side, count = settings.size or 64, settings.phantoms
        data = DeviceDataset.phantoms(count, side, settings.seed_of_data, device)
    if settings.mark_input:
        data = data.with_marks(DRAWS)
    if settings.folds:
        split = fold_split(data.patients, settings.fold, settings.folds, settings.seed_of_data)
    else:
        split = split_by_patient(data.patients, settings.shares, settings.seed_of_data)
    made = crop and crop.to_dict()
    digest = data.digest()
    training, validation = data.subset(split.train), data.subset(split.val or split.train)

    # Network, teacher, step.
    teacher = load_model(settings.teacher) if settings.teacher else None
    if isinstance(teacher, DSNet):
        raise ValueError(
            f"teacher must be one of dsnet.train_sr, got a network, {settings.teacher}"
        )
    sizes: dict[str, Any] = {
        "scale": settings.scale,
        "width": settings.width, "depth": settings.depth, "reduction": settings.reduction,
        "teacher_blocks": settings.teacher_blocks, "teacher_features": settings.teacher_features,
        "neighbours": settings.neighbours, "mark_input": settings.mark_input,
    }  # fmt: skip
    require_memory(lambda: build(settings.variant, **sizes), device, "--width, --depth")
    network = build(settings.variant, teacher=teacher, **sizes)
    network.expect(float(training.soft.mean()))
    discriminator = None
    if network.config.rung.gan_loss:
        discriminator = PixelDiscriminator(width=settings.judge_width)
    memory = torch.channels_last if settings.channels_last else torch.contiguous_format
    # The stubs of `Module.to` know no memory format.
    network = network.to(device, memory_format=memory)  # pyright: ignore[reportCallIssue]
    if discriminator is not None:
        discriminator = discriminator.to(device, memory_format=memory)  # pyright: ignore[reportCallIssue]
    step = AdversarialStep(
        network, discriminator, lr=settings.lr, precision=settings.precision,
        accumulate=settings.accumulate, compile=settings.compile,
        cuda_graphs=settings.cuda_graphs, distributed=world > 1, average=settings.average,
        soft_weight=settings.soft_weight, gan_weight=settings.gan_weight,
        soft_loss=SOFT_LOSS[settings.soft_loss],
    )  # fmt: skip

    # Where the run stands.
    per_step = settings.batch * settings.accumulate * world
    epoch_steps = -(-len(training) // per_step)
    total = epoch_steps * settings.epochs
    done: Any = 0
    best: Any = -1.0
    if chief and not (settings.resume and not out.is_dir()):
        _hold(out, held)
    if settings.resume:
        _require_same_course(settings, read_checkpoint(out / "checkpoint.pt")["settings"])
        progress, _ = load_checkpoint(out / "checkpoint.pt", step)
        done, best, known = (progress.get(name) for name in ("step", "best", "data"))
        Range(int, 0, total).check(f"step in {out / 'checkpoint.pt'}", done)
        Range(float, -1, 1).check(f"best in {out / 'checkpoint.pt'}", best)
        if known != digest:
            raise ValueError(f"{settings.data or 'the phantoms'} changed since the run began")
    elif chief and (out / "checkpoint.pt").exists():
        raise ValueError(f"{out} holds a training already: --resume goes on, or take another --out")
    if chief:
        write(out / "settings.json", settings)
        _write_split(out / "split.json", data, split)
    log = Log(out, total, done, per_step, chief)
    for line in _introduction(settings, device, world, network, data, split):
        log.say(line)
    augmentation, slices = Augmentation(settings.augment), 1 + 2 * settings.neighbours
    cache = _teach_all(network, training, augmentation, settings, log)

    def save() -> None:
        if chief:
            progress = {"step": done, "best": best, "data": digest}
            save_checkpoint(out / "checkpoint.pt", step, progress, asdict(settings))

    # The epochs.
    graphs, started = None, time.monotonic()
    first, sums, summed, stopped = done, 0, 0, False
    while done < total and not stopped:
        epoch, position = divmod(done, epoch_steps)
        order = epoch_order(len(training), settings.seed, epoch, per_step).to(device)
        draws = draw(augmentation, len(order), settings.seed, epoch).to(device)
        for k in range(position, epoch_steps):
            batches = []
            for part in range(settings.accumulate):
                begin = k * per_step + (part * world + rank) * settings.batch
                chosen = slice(begin, begin + settings.batch)
                index, drawn = order[chosen], draws.part(chosen)
                seen = training.inputs(index, drawn.mark)
                planes = (seen, training.soft[index], training.binary[index])
                known = _cached(cache, augmentation, index, drawn)
                image, soft, binary = apply(augmentation, drawn, *planes, grey=slices)
                image = image.contiguous(memory_format=memory)
                batches.append(Batch(image, soft, binary, known))
            lr = learning_rate(done, total, settings.lr, warmup=settings.warmup)
            losses = torch.stack(step.run(batches, lr))
            sums, summed, done = sums + losses, summed + 1, done + 1
            if done - first == WARM_UP_STEPS:
                graphs = compiled_graphs()
            last = k == epoch_steps - 1
            saves = settings.save_every > 0 and done % settings.save_every == 0
            reads = done % settings.log_every == 0 or last or saves
            # One process looks at every step; several agree when they meet anyway.
            stopped = _asked(stop, device, world) if reads or world == 1 else False
            if reads or stopped:  # The only wait for the device.
                _read(sums / summed, done, lr, log, out, world)
                sums, summed = 0, 0
            if stopped and not last:
                break
            if saves and not last:
                save()
        else:
            found = validate(step.result, validation, settings, rank, world, out / "panel.png")
            if found.dice > best:
                best = found.dice
                if chief:
                    save_model(out / "best.pt", step.result, made, found.threshold)
            if chief:
                save_model(out / "last.pt", step.result, made, found.threshold)
            log.validated(done, epoch + 1, settings.epochs, *found)
            save()
    if stopped:
        save()
        log.say(f"stopped by a signal after step {done}; --resume goes on from there")
    seconds = time.monotonic() - started
    summary = {
        "steps": done, "best_dice": best, "seconds": seconds, "stopped": stopped,
        "images_per_s": (done - first) * per_step / max(seconds, 1e-9),
        "peak_memory_gb": _peak_memory(device),
        "new_graphs": compiled_graphs() - graphs if settings.compile and graphs is not None else 0,
    }  # fmt: skip
    log.close()
    if chief:
        _print_summary(summary, settings, device, out)
    if world > 1:
        dist.barrier()  # No process leaves while another still reads what it sent.
    return summary


def _hold(out: Path, held: ExitStack) -> None:
    """Make the folder, and keep other runs out of it: two would mix their models and tables."""
    held.enter_context(writing(out, "the run's folder"))


def _place(settings: Settings) -> tuple[int, int, torch.device]:
    """Rank, number of processes and device; joins the processes that torchrun started."""
    device = torch_device(settings.device)
    use_threads(settings.threads)
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    on_cuda = device.type == "cuda"
    if on_cuda and world > 1 and settings.device in ("auto", "cuda"):
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    if on_cuda:
        torch.cuda.set_device(device)
    elif rank == 0 and settings.device == "auto":
        print("no CUDA device: training on the CPU, with the reference in place of the kernels")
    if world > 1:
        dist.init_process_group("nccl" if on_cuda else "gloo")
    return rank, world, device


def _asked(stop: Stop, device: torch.device, world: int) -> bool:
    """Whether to stop; the processes of a run agree."""
    if world == 1:
        return bool(stop)
    flag = torch.tensor(float(bool(stop)), device=device)
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag > 0)


def _introduction(settings, device, world, network, data, split) -> list[str]:
    trained = sum(p.numel() for p in network.trainable_parameters())
    parts = ", ".join(f"{len(p)} {n}" for n, p in zip(split._fields, split, strict=True))
    source = settings.data or "phantoms (no --data)"
    lines = [
        f"{settings.variant}, {trained:,} parameters, on {world} x {device}; {source}: {parts}"
    ]
    if network.config.extra_channels:
        lines.append(f"it sees {network.config.inputs}")
    if data.marks is not None:
        lines[-1] += f"; {sum(data.replayed)} of {len(data)} cases have replayed marks"
    if lacking := sum(map(bool, data.stood_in)):
        told = f"{lacking} of {len(data)} cases lack neighbours: the slice itself stands for them"
        lines.append(f"warning: {told}")
    if told := settings.data and review_note(settings.data, settings.reviewed):
        lines.append(f"warning: {told}" if settings.reviewed == AS_MADE else told)
    if told := unknown_patients_note(data.unknown, len(data)):
        lines.append(f"warning: {told}")
    if not split.val:
        lines.append(
            "warning: no validation part: training cases choose the epoch and the threshold"
        )
    if network.teacher is not None and not settings.teacher:
        lines.append("the SR teacher has random weights: train one with dsnet.train_sr, --teacher")
    return lines


def _teach_all(network, training, augmentation, settings, log) -> SROutputs | None:
    """The teacher's outputs [views * N, ...] of all images, where they can be kept."""
    if network.teacher is None or not augmentation.cacheable:
        return None
    side, config = training.image.shape[2] * network.config.scale, network.config
    count = len(training) * augmentation.views
    bytes_each = 4 if settings.precision == "fp32" else 2
    channels = config.teacher_channels + config.teacher_features
    size = count * side**2 * channels * bytes_each / 1e9
    if size > settings.teacher_cache_gb:
        log.say(f"the teacher's outputs take {size:.1f} GB, --teacher-cache-gb is less: not kept")
        return None
    outputs = []
    for view in range(augmentation.views):
        for one in training.image.split(16):
            turned = symmetry(one, torch.full((len(one),), view, device=one.device))
            with autocast(one, settings.precision):
                outputs.append(network.teach(turned))
    return SROutputs(*(torch.cat(parts) for parts in zip(*outputs, strict=True)))


def _cached(cache, augmentation, index, drawn) -> SROutputs | None:
    if cache is None:
        return None
    count = cache.image.shape[0] // augmentation.views
    place = index + count * drawn.view if augmentation.views > 1 else index
    return SROutputs(cache.image[place], cache.features[place])


def _read(means, done, lr, log, out, world) -> None:
    if world > 1:
        dist.all_reduce(means)
        means = means / world
    values = dict(zip(StepLosses._fields, means.tolist(), strict=True))
    if not all(abs(v) < float("inf") for v in values.values()):
        bad = ", ".join(f"{k} {v}" for k, v in values.items())
        log.close()
        raise NotFinite(
            f"a loss is not finite by step {done} ({bad}); {out / 'checkpoint.pt'}, if there, is "
            "the last good one: --resume it with a lower --lr or --precision fp32"
        )
    log.read(done, {**values, "lr": lr})


def _require_same_course(settings: Settings, stored: dict) -> None:
    # What a run from before an option was there did is the option's default.
    stored = {**asdict(Settings()), **stored} if stored else {}
    for name in COURSE:
        now, then = getattr(settings, name), stored.get(name)
        if (list(now) if isinstance(now, tuple) else now) != (
            list(then) if isinstance(then, tuple) else then
        ):
            raise ValueError(f"{name} must be {then!r}, as in the run to resume, got {now!r}")


def _write_split(path, data, split) -> None:
    content = {name: [data.keys[i] for i in part] for name, part in split._asdict().items()}
    write_json(path, content)
    # Keys do not tell the patients that folders, DICOM or --patients named.
    write_json(path.with_name("patients.json"), dict(zip(data.keys, data.patients, strict=True)))


def _peak_memory(device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    import resource

    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes * (1e-9 if sys.platform == "darwin" else 1024e-9)


def _print_summary(summary, settings, device, out) -> None:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(
        f"{name}: {summary['steps']} steps, {summary['images_per_s']:.1f} images/s with "
        f"validation, {summary['seconds']:.0f} s, peak memory {summary['peak_memory_gb']:.2f} GB\n"
        f"best validation Dice {summary['best_dice']:.4f}; results in {printable(str(out))}"
    )
    if settings.compile:
        new = summary["new_graphs"]
        print("no recompile after warm-up" if not new else f"WARNING: {new} recompiles")
