"""A Ray cluster is reached, or started here, and its head is watched.

Ray ends a driver that has lost the head after a minute, without a word of ours and without leave to
close what is open.
"""

from __future__ import annotations

import contextlib
import logging
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

# A head that is started anew may be back so soon; Ray ends the driver after 60 seconds.
PATIENCE = 30.0
PAUSE = 2.0
ANSWER = 5.0
# Seconds for which signals may be the system's while Ray ends.
MOMENT = 0.01
# Ray puts traces into what it tells: of one only the error that it ends with is for users.
_TRACE = re.compile(r"Traceback \(most recent call last\):.*?(?=\w+(?:Error|Exception): )")


class ToldToStop(RuntimeError):
    """SIGTERM came while Ray was reached."""


class Head:
    """The head, as a context manager in which it is watched."""

    def __init__(self) -> None:
        self._silent = False
        self._end = threading.Event()
        self._address = _address()

    def __enter__(self) -> Head:
        if self._address is not None:
            threading.Thread(target=self._watch, args=self._address, daemon=True).start()
        return self

    def __exit__(self, *exception) -> None:
        self._end.set()

    @property
    def gone(self) -> bool:
        """Whether it has not answered for `PATIENCE` seconds, or a client of it gave up.

        Ray must not be called then: it would begin anew, or wait for a minute and end the process.
        """
        import ray

        return self._silent or not ray.is_initialized()

    def require(self) -> None:
        """Raise RuntimeError where it is gone."""
        if self.gone:
            raise RuntimeError("the head of the Ray cluster is gone: go on with --resume")

    def _watch(self, host: str, port: int) -> None:
        seen = time.monotonic()
        while not self._end.wait(PAUSE):
            try:
                socket.create_connection((host, port), ANSWER).close()
                seen = time.monotonic()
            except OSError:
                if time.monotonic() - seen > PATIENCE:
                    self._silent = True
                    return


def _address() -> tuple[str, int] | None:
    """Where the head's service answers; None of a client, which has Ray's own watch."""
    import ray
    from ray.util.client import ray as client

    if client.is_connected():
        return None
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    return host.strip("[]"), int(port)


@contextlib.contextmanager
def own_signals() -> Iterator[None]:
    """Ray's beginning takes SIGTERM: the run would die of what tells it to stop."""
    restore = _restored()
    try:
        yield
    finally:
        restore()


def _restored() -> Callable[[], None]:
    """What lets signals be handled as they are now, again."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def restore() -> None:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)

    return restore


def _require_answer(address: str) -> None:
    """Raise RuntimeError where nobody is at HOST:PORT: Ray would ask for minutes."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER).close()
    except (OSError, OverflowError) as error:
        raise RuntimeError(f"no Ray cluster at {address}: {line_of(error)}") from error


def _begin(options: dict[str, Any]) -> None:
    """Begin with Ray; raise ToldToStop once SIGTERM, which came meanwhile, was handled."""
    import ray

    try:
        with own_signals():
            ray.init(**options)
    except SystemExit as end:  # Ray's answer to SIGTERM, until it has begun.
        ray.shutdown()
        if end.code != signal.SIGTERM:
            raise
        signal.raise_signal(signal.SIGTERM)
        raise ToldToStop("told to stop before the Ray cluster was reached") from None


def _end() -> None:
    """End Ray, which gives SIGTERM back to the system long before it has ended."""
    import ray

    restore = _restored()
    ending = threading.Thread(target=ray.shutdown)
    ending.start()
    while ending.is_alive():
        restore()
        ending.join(MOMENT)
    restore()


@contextlib.contextmanager
def reached(address: str | None, workers: int, gpus: int) -> Iterator[Head]:
    """A cluster that is reached, or one on this machine that ends with the run."""
    import ray
    from ray.exceptions import RayError

    if ray.is_initialized():
        _require_gpus(gpus)
        with Head() as head:
            yield head
        return
    # What Ray says of itself stands in its own logs.
    logging.getLogger("ray").setLevel(logging.ERROR)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        # Not one that runs here already, nor the one that RAY_ADDRESS names.
        options |= {"address": "local", "num_cpus": workers, "include_dashboard": False}
    else:
        options["address"] = address
        _require_answer(address)
    try:
        _begin(options)
    except (ConnectionError, TimeoutError, ValueError, RayError) as error:
        raise RuntimeError(f"no Ray cluster at {address}: {_causes(error)}") from error
    try:
        _require_gpus(gpus)
        with Head() as head:
            yield head
    finally:
        _end()


def _causes(error: BaseException) -> str:
    """An error and what it came of: what Ray raises last says least."""
    told, cause = [line_of(error)], error.__cause__
    while cause is not None:
        told.append(line_of(cause))
        cause = cause.__cause__
    told = [_TRACE.sub("", text) for text in told]
    return ": ".join(dict.fromkeys(text for text in told if text))


def _require_gpus(gpus: int) -> None:
    """Tell where nobody can have the GPU that each actor asks for."""
    import ray

    if gpus and not ray.cluster_resources().get("GPU"):
        raise RuntimeError("device must be 'cpu': the Ray cluster has no GPU now")


def line_of(error: BaseException) -> str:
    """An error on one line: Ray's have many."""
    return " ".join(str(error).split())
