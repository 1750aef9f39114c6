"""A Ray cluster of several nodes on this machine, one of which is killed now and then."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


class Nodes:
    """A head without cores and nodes of one each, as processes of their own.

    Parameters
    ----------
    count : int
        Of the nodes.
    """

    def __init__(self, count: int) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        self.address: str = self._cluster.address
        self._nodes = [self._cluster.add_node(num_cpus=1) for _ in range(count)]

    def kill(self, rng: np.random.Generator) -> None:
        """Kill a node and all that runs there at once, and let another one come."""
        node = self._nodes.pop(int(rng.integers(len(self._nodes))))
        for pid in _children(node.all_processes["raylet"][0].process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._cluster.remove_node(node, allow_graceful=False)
        self._nodes.append(self._cluster.add_node(num_cpus=1))

    def close(self) -> None:
        """End all of them."""
        self._cluster.shutdown()


@contextlib.contextmanager
def nodes(count: int) -> Iterator[Nodes]:
    """A cluster for as long as the context lasts."""
    made = Nodes(count)
    try:
        yield made
    finally:
        made.close()


def _children(pid: int) -> list[int]:
    """A process and what it started, those that were started last first."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [each for word in words for each in _children(int(word))] + [pid]
    return []
