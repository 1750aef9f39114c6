"""What runs on the nodes of a Ray cluster: it tells whether its node can label, and labels.

A node that has another dsnet would give other labels, one that does not see the store's folder
would write shards that nobody finds. So each actor says, before it is given work, what its node
lacks.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import dsnet
from dsnet.data.phantom import make_phantom
from dsnet.data.remote import is_address
from dsnet.data.store.stage import STAGED, Recipe
from dsnet.labeling import label_recist

# After so long a call looks whether another one has seen to its block.
TURN_SECONDS = 0.02


@contextlib.contextmanager
def needs_of(recipe: Recipe, places: Sequence[str | os.PathLike] = ()) -> Iterator[dict[str, Any]]:
    """What a node must have and see, in plain values, as long as the context lasts.

    Parameters
    ----------
    recipe : Recipe
        Of the store: a file is put into its folder, that a node must see.
    places : sequence of path
        Files and folders that jobs read; addresses are left out.
    """
    seen = [os.fspath(place) for place in places if place and not is_address(place)]
    needs: dict[str, Any] = {
        "version": dsnet.__version__,
        "digests": _digests(),
        "folder": os.getcwd(),
        "relative": not all(map(os.path.isabs, seen)),
        "places": [_landmark(os.path.abspath(place)) for place in seen],
        "sign": None,
    }
    if is_address(recipe.path):
        yield needs
        return
    sign = Path(recipe.path, f"{STAGED}{uuid.uuid4().hex}")
    sign.touch()
    try:
        yield {**needs, "sign": str(sign)}
    finally:
        sign.unlink(missing_ok=True)


def lacking(needs: dict[str, Any]) -> str:
    """What this node lacks, in words that follow "its"; empty where nothing.

    This process then stands in the folder where the driver does, if that is here.
    """
    where = Path(dsnet.__file__).parent
    for what, mine, wanted in zip(("code", "labels"), _digests(), needs["digests"], strict=True):
        if mine != wanted:
            return f"dsnet at {where} has other {what} than the driver's, of one version"
    try:
        os.chdir(needs["folder"])
    except OSError as error:
        if needs["relative"]:
            return f"driver's folder is not there ({error}): give absolute paths"
        os.chdir("/")  # Where Ray was started, a relative path may lead anywhere.
    for place in needs["places"]:
        if not os.path.exists(place):
            return f"archive is not there, or another one: no {place}"
    if needs["sign"] is not None:
        return _lacking_store(Path(needs["sign"]))
    return ""


def _lacking_store(sign: Path) -> str:
    """What hinders shards of this node from reaching the driver."""
    if not sign.exists():
        return f"{sign.parent} is not the driver's: the store must be on storage that all nodes see"
    try:
        with open(sign.with_name(f"{STAGED}{uuid.uuid4().hex}"), "wb") as mine:
            os.unlink(mine.name)
    except OSError as error:
        return f"store's folder cannot be written: {error}"
    return ""


def _landmark(place: str) -> str:
    """A path that exists where a place does, and not in another folder of that name."""
    try:
        with os.scandir(place) as entries:
            return next((entry.path for entry in entries), place)
    except OSError:
        return place


@cache
def _digests() -> tuple[str, str]:
    """Of this process' dsnet: its code, and some labels that it makes."""
    code, labels = hashlib.sha256(), hashlib.sha256()
    root = Path(dsnet.__file__).parent
    for path in sorted(root.rglob("*.py")):
        code.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    for seed in range(3):
        phantom = make_phantom(size=32, seed=seed)
        label = label_recist(phantom.image, phantom.mark)
        labels.update(np.ascontiguousarray(label.alpha).tobytes())
    return code.hexdigest(), labels.hexdigest()


def labeller() -> type:
    """The class of the actors: it goes to the nodes by value, since a node may have no dsnet."""

    class Labeller:
        """An actor: labels blocks in a process of its own, which a file may kill."""

        def __init__(self, needs: dict[str, Any]) -> None:
            import os
            import socket
            import sys
            import threading

            import ray

            node = ray.get_runtime_context().get_node_id()
            address = ray.util.get_node_ip_address()
            self._told = {"node": node, "name": f"{address} ({socket.gethostname()})"}
            self._crew: Any = None
            # Of the calls that are under way, one a block, one at a time sees to the process.
            self._turn = threading.Lock()
            try:
                import dsnet
                from dsnet.archive.nodes import lacking
                from dsnet.archive.processes import Crew
            except ImportError as error:
                wanted = f"dsnet {needs['version']}"
                found = f"{sys.executable} in {os.getcwd()}: {error}"
                self._told["lacks"] = f"Python has no {wanted} ({found})"
                return
            if dsnet.__version__ != needs["version"]:
                lacks = f"dsnet is {dsnet.__version__}, the driver's {needs['version']}"
            else:
                lacks = lacking(needs)
            self._told["lacks"] = lacks
            if not lacks:
                self._crew = Crew(1)

        def ready(self) -> dict[str, str]:
            """Which node it is on, and what that lacks."""
            return self._told

        def label(self, block, device):
            """Label a block, on the GPU that the actor has where `device` is "cuda".

            None where the node cannot: Ray has made the actor anew there meanwhile.
            """
            if self._crew is None:
                return None
            if device is not None:
                from dsnet.archive.blocks import Block
                from dsnet.archive.gpu import device_jobs
                from dsnet.devices import usable_cores

                groups = device_jobs(block.jobs, device, usable_cores())
                block = Block(tuple(groups), block.recipe)
            task = self._crew.add(block)
            while (results := task.results) is None:
                # Whoever has the turn may take it again and again, and sees to this block, too.
                if self._turn.acquire(timeout=TURN_SECONDS):
                    try:
                        self._crew.work()
                    finally:
                        self._turn.release()
            return results

    return Labeller
