"""Label CT lesions: RECIST marks, masks or several raters' masks become a store of soft masks.

python -m dsnet.label demo --out demo
python -m dsnet.label recist --annotations DL_info.csv --images Images_png --out store
python -m dsnet.label show store
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from dataclasses import replace
from pathlib import Path

from dsnet import devices
from dsnet.archive.exporting import OBJECT_FORMATS, SERIES_FORMATS
from dsnet.archive.parser import label_parser
from dsnet.archive.server import start_server
from dsnet.console import (
    Bar,
    Stop,
    UserError,
    complain,
    printable,
    require_folder,
    require_no_file,
    require_table,
)
from dsnet.signals import signals_raised
from dsnet.streams import command


@command
def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(arguments)
    try:
        with signals_raised():
            if not getattr(options, "resume", False):  # There may be nothing left to do.
                _start_workers(options)
            return options.run(options, arguments)
    except (UserError, ValueError, RuntimeError, OSError, ImportError) as error:
        return complain("dsnet.label", error)
    except KeyboardInterrupt as stop:
        print("stopped", file=sys.stderr)
        return 128 + getattr(stop, "signal", signal.SIGINT)


def _start_workers(options) -> None:
    """Let what workers need be loaded beside what is done first."""
    if getattr(options, "workers", 1) > 1 and not getattr(options, "ray", None):
        start_server()


def _demo(options, arguments) -> int:
    from dsnet.archive.jobs import phantom_jobs
    from dsnet.archive.report import print_demo
    from dsnet.data.store.reader import open_store

    out = Path(options.out)
    require_no_file(out, "--out")
    jobs = phantom_jobs(options.count, options.size, options.seed)
    settings = {"strategy": "recist", "size": options.size, "phantoms": True}
    code = _run(options, arguments, jobs, options.count, settings, out / "store")
    print_demo(open_store(out / "store"), out / "sheet.png")
    return code


def _recist(options, arguments) -> int:
    from dsnet.data.remote import check_place

    check_place(options.annotations, lambda path: require_table(path, "--annotations"))
    check_place(options.images, lambda path: require_folder(path, "--images"))
    from dsnet.archive.again import asked_of, is_finished, nothing_left
    from dsnet.archive.jobs import slice_jobs
    from dsnet.data.datasets.coordinates import CORNER, check_origin
    from dsnet.data.datasets.deeplesion import read_annotations, select
    from dsnet.data.patients import is_table, patients_by, with_patients

    origin = CORNER if options.origin is None else check_origin(options.origin)
    window = "none" if options.pictures else "auto"
    if options.window is not None:
        window = _window(options)
    crop = {"size": options.crop, "window": window, "isotropic_mm": options.isotropic}
    given = _given(options, "patients", "neighbours")
    settings = {"strategy": "recist", **crop, "origin": origin, **given}
    names = ("origin", "type", "split", "no_noisy", "min_mm", "max_mm", "limit", "patients")
    tables = [options.annotations, *filter(is_table, [options.patients or ""])]
    asked = asked_of(tables, {name: getattr(options, name) for name in names})
    if options.resume and not options.retry_failed and is_finished(options.out, asked):
        jobs = nothing_left(asked)
        return _run(options, arguments, jobs, None, settings, options.out)
    _start_workers(options)
    table = read_annotations(options.annotations, origin=origin)
    rule = patients_by(options.patients) if options.patients else None
    if options.patients:
        table = with_patients(table, options.patients)
    chosen = select(
        table,
        types=options.type,
        splits=options.split,
        include_noisy=not options.no_noisy,
        min_diameter_mm=options.min_mm,
        max_diameter_mm=options.max_mm,
    )[: options.limit]
    if not chosen:
        raise UserError("no annotation is left: check --type, --split, --min-mm and --max-mm")
    more = {"max_pixels": options.max_pixels, "neighbours": options.neighbours}
    jobs = slice_jobs(chosen, options.images, table=table, patient=rule, **crop, **more)
    jobs = replace(jobs, asked=asked)
    return _run(options, arguments, jobs, len(chosen), settings, options.out)


def _dicom(options, arguments) -> int:
    from dsnet.archive import dicom
    from dsnet.archive.exporting import export_on_series, require_new_folder
    from dsnet.archive.finding import find_on_slices, named, require_new, tell_found
    from dsnet.archive.naming import Naming, hash_key
    from dsnet.data.store.reader import open_store

    if not (options.out or options.dry_run):
        raise UserError("--out must be the folder of the store; --dry-run needs none")
    if options.seg:
        require_new_folder(options.seg, "--seg")
    window = _window(options)
    with named("--hash-key"):
        naming = Naming(hash_key(options.hash_key), options.keep_identifiers)
    if not options.dry_run:
        require_new(options.out, options.resume or options.retry_failed)
    origins = {"gsps_origin": options.gsps_origin, "table_origin": options.table_origin}
    where = {"cache": options.index, "workers": options.workers}
    found, index, matched = find_on_slices(options.images, options.marks, **where, **origins)
    tell_found(found, matched, index, naming, everything=options.dry_run)
    if options.dry_run:
        return 0
    if not matched:
        raise UserError(f"no mark was found at {options.marks}: --dry-run tells what was looked at")
    crop = {"size": options.crop, "window": window, "isotropic_mm": options.isotropic}
    more = {"neighbours": options.neighbours, "max_pixels": options.max_pixels}
    jobs = dicom.dicom_jobs(matched, index, naming=naming, **crop, **more)
    given = _given(options, "neighbours", "keep_identifiers")
    settings = {"strategy": "recist", "dicom": True, **crop, **given, **naming.settings}
    code = _run(options, arguments, jobs, len(matched), settings, options.out)
    if options.seg and code < 128:
        export_on_series(open_store(options.out), "dicom-seg", options.seg, index, naming)
    return code


def _window(options) -> tuple[float, float] | None:
    if options.window is None:
        return None
    low, high = options.window
    if low >= high:
        raise UserError(f"--window must be LOW below HIGH, got {low:g} {high:g}")
    return low, high


def _masks(options, arguments) -> int:
    require_folder(options.images, "--images")
    require_folder(options.masks, "--masks")
    from dsnet.data.datasets.folders import find_image_mask_pictures

    pictures = find_image_mask_pictures(options.images, options.masks, **_reading(options))
    return _run_pictures(options, arguments, pictures, {"strategy": "masks"})


def _raters(options, arguments) -> int:
    require_folder(options.data, "--data")
    from dsnet.data.datasets.lidc import find_rater_pictures

    reading = {**_reading(options), "neighbours": options.neighbours}
    settings = {"strategy": "raters", **_given(options, "neighbours")}
    return _run_pictures(options, arguments, find_rater_pictures(options.data, **reading), settings)


def _lidc(options, arguments) -> int:
    from dsnet.archive.finding import require_new
    from dsnet.data.ct_image import LUNG_WINDOW
    from dsnet.data.datasets.lidc_idri.find import Chosen, find_lidc

    # All headers are read before the run begins.
    require_new(options.out, options.resume or options.retry_failed)
    low, high = options.window or LUNG_WINDOW
    chosen = Chosen(
        options.readers, options.min_mm, options.max_mm, options.largest, options.crop,
        (low, high), options.neighbours,
    )  # fmt: skip
    how = {"max_pixels": options.max_pixels, "workers": options.workers}
    with Bar(on_stderr=True) as bar:
        how["progress"] = lambda done, count: bar.show("slices", done, count)
        found = find_lidc(options.images, options.xml, chosen, patients=options.patients, **how)
    settings = {"strategy": "raters", "size": options.crop, "window": (low, high)}
    return _run_pictures(options, arguments, found, {**settings, **_given(options, "neighbours")})


def _volumes(options, arguments) -> int:
    require_folder(options.data, "--data")
    from dsnet.archive.jobs import volume_jobs
    from dsnet.data.datasets.promise import find_promise_slices

    found = find_promise_slices(
        options.data, patients=options.patients, max_pixels=options.max_pixels
    )
    return _run_pictures(options, arguments, found, {"strategy": "masks"}, volume_jobs)


def _reading(options) -> dict:
    """How pictures are read, from the options."""
    window = options.window and tuple(options.window)
    return {"window": window, "patients": options.patients, "max_pixels": options.max_pixels}


def _run_pictures(options, arguments, pictures, settings: dict, jobs_of=None) -> int:
    from dsnet.archive.again import asked_of_pictures, is_finished, nothing_left
    from dsnet.archive.jobs import picture_jobs
    from dsnet.data.datasets.picture_files import tell_left_out

    if told := tell_left_out(pictures.left_out):
        print(printable(f"left out: {told}"), file=sys.stderr)
    settings = {**settings, **_given(options, "window", "patients")}
    asked = asked_of_pictures(((p.key, p.source) for p in pictures), {"limit": options.limit})
    if options.resume and not options.retry_failed and is_finished(options.out, asked):
        return _run(options, arguments, nothing_left(asked), None, settings, options.out)
    chosen = pictures[: options.limit]
    jobs = replace((jobs_of or picture_jobs)(chosen, listed=pictures), asked=asked)
    return _run(options, arguments, jobs, len(chosen), settings, options.out)


def _given(options, *names: str) -> dict:
    """The settings of the store that are given: stores of before know none of them."""
    return {name: getattr(options, name) for name in names if getattr(options, name, None)}


def _show(options, arguments) -> int:
    from dsnet.archive.report import print_summary, write_sheets
    from dsnet.data.remote import is_address
    from dsnet.data.store.reader import open_store

    if options.out:
        require_no_file(options.out, "--out")
    store = open_store(options.store)
    print_summary(store)
    # Beside the store: tools that read it as a data set would stumble over pictures.
    beside = f"{store.path.name if is_address(options.store) else store.path.resolve()}-sheets"
    for path in write_sheets(store, Path(options.out or beside), options.count):
        print(f"look at {printable(str(path))}")
    return 1 if store.damaged else 0


def _check(options, arguments) -> int:
    from dsnet.data.remote import check_place
    from dsnet.data.store import open_store, repair_store, validate_store

    check_place(options.store, lambda path: require_folder(path, "STORE"))

    problems = (repair_store if options.repair else validate_store)(options.store)
    for problem in problems:
        print(("taken out: " if options.repair else "") + printable(" ".join(problem.split())))
    if problems and not options.repair:
        return 1
    print(f"{len(open_store(options.store))} rows, all checksums right")
    return 0


def _compact(options, arguments) -> int:
    require_folder(options.store, "STORE")
    from dsnet.data.store import compact_store

    before, after = compact_store(options.store, options.shard_rows)
    print(f"{before} shards are now {after}")
    return 0


def _push(options, arguments) -> int:
    require_folder(options.store, "STORE")
    from dsnet.data.store.push import push_store

    done = push_store(options.store, options.address)
    removed = f", {done.removed} removed" if done.removed else ""
    print(
        f"{done.rows} rows in {done.shards} shards are there: {done.sent} files sent, "
        f"{done.bytes / 1e6:.1f} MB{removed}"
    )
    return 0


def _export(options, arguments) -> int:
    from dsnet.archive.exporting import export_and_tell, require_taken
    from dsnet.archive.report import warnings_of
    from dsnet.data.store import export
    from dsnet.data.store.reviewed import ReviewedStore, open_reviewed

    require_taken(options)
    store = open_reviewed(options.store, options.reviewed)
    if isinstance(store, ReviewedStore):
        print(store.told())
    if options.format not in ("png", *OBJECT_FORMATS):
        # Whoever takes these trains on them.
        for warning in warnings_of(store):
            print(f"warning: {warning}", file=sys.stderr)
    if options.format in SERIES_FORMATS:
        whole = export_and_tell(store, options)
        return 0 if whole and not store.damaged else 1
    if options.format == "npz":
        given = {name: getattr(options, name) for name in ("split", "seed")}
        given = {name: value for name, value in given.items() if value is not None}
        parts = export.export_npz(store, options.out, **given, min_quality=options.min_quality)
        told = ", ".join(f"{count} {name}" for name, count in parts.items())
    else:
        write = getattr(export, f"export_{options.format}")
        told = str(write(store, options.out, min_quality=options.min_quality))
    print(f"wrote {told} labels to {printable(options.out)}")
    return 1 if store.damaged else 0


def _executor(options, device: str):
    """What runs the jobs: a name, or a Ray cluster."""
    if not options.ray:
        return "processes" if device == "cpu" else "gpu"
    from dsnet.archive.ray import RayExecutor

    # Which GPU an actor has is Ray's to say.
    on_gpu = None if device == "cpu" else "cuda"
    places = [getattr(options, name, None) for name in ("images", "masks", "data")]
    address = None if options.ray == "here" else options.ray
    return RayExecutor(options.workers, address, on_gpu, [place for place in places if place])


def _run(options, arguments, jobs, total: int | None, settings: dict, out: str | Path) -> int:
    """Label into a store, told on the way; the exit code."""
    from dsnet.archive import label_archive
    from dsnet.archive.finding import require_new
    from dsnet.archive.report import TerminalProgress, print_stages, print_summary, warnings_of
    from dsnet.archive.workers import frozen
    from dsnet.data.store.reader import open_store

    require_new(out, options.resume or options.retry_failed)
    device = getattr(options, "device", "cpu")
    if not options.ray:
        device = devices.labelling_device(device)
    on_cpu = device == "cpu"
    with Stop() as stop, frozen(), TerminalProgress(total) as progress:
        summary = label_archive(
            jobs,
            out,
            executor=_executor(options, device),
            settings=settings,
            workers=options.workers,
            device=None if on_cpu or options.ray else device,
            alpha_bits=options.alpha_bits,
            resume=options.resume,
            retry_failed=options.retry_failed,
            progress=progress,
            stop=stop,
        )
    print(f"{progress.rate}, {progress.rate.seconds:.1f} s, workers: {options.workers}")
    if not on_cpu and not options.ray and options.verbose:
        print_stages(device, options.workers)
    store = open_store(out)
    print_summary(store)
    for warning in warnings_of(store):
        print(f"warning: {warning}", file=sys.stderr)
    if summary.stopped:
        again = arguments if options.resume else [*arguments, "--resume"]
        again = [word for word in again if word != "--retry-failed"]
        print(
            "stopped; the store is whole. To go on: python -m dsnet.label"
            f" {printable(shlex.join(again))}",
            file=sys.stderr,
        )
        return 128 + summary.signal
    return 1 if options.strict and summary.failed else 0


_RUNS = {
    "demo": _demo,
    "recist": _recist,
    "dicom": _dicom,
    "masks": _masks,
    "raters": _raters,
    "lidc": _lidc,
    "volumes": _volumes,
    "show": _show,
    "check": _check,
    "compact": _compact,
    "push": _push,
    "export": _export,
}


def _parser() -> argparse.ArgumentParser:
    return label_parser(__doc__ or "", _RUNS)


if __name__ == "__main__":
    sys.exit(main())
