"""Signals: which process answers them, and how a command ends that is told to.

`dsnet.console.Stop` is for runs that finish what they are at; this is for all else.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from typing import NoReturn


class Stopped(KeyboardInterrupt):
    """SIGTERM or SIGHUP came, which end a command as Ctrl-C does.

    Attributes
    ----------
    signal : int
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


@contextlib.contextmanager
def signals_raised() -> Iterator[None]:
    """Raise `Stopped` on SIGTERM and SIGHUP: what is open is closed, what is half made is removed.

    A signal that is ignored stays so, as SIGHUP under `nohup`.
    """
    before = {}
    # Elsewhere Python has no signals to handle.
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, _raise)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise(number: int, frame) -> NoReturn:
    raise Stopped(number)


@contextlib.contextmanager
def left_to_parent() -> Iterator[None]:
    """Start processes that leave Ctrl-C and SIGHUP to this one: a terminal sends them to all."""
    # Started meanwhile, it would let Ctrl-C through again, for this process and those to come.
    resource_tracker.ensure_running()
    mask = leave_to_parent()
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def leave_to_parent() -> set[int]:
    """Leave Ctrl-C and SIGHUP to the parent from now on; the signals that were so before."""
    return signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGHUP])


def end_with_parent() -> None:
    """Let this process end when the one ends that started it, which may be killed.

    A process of a pool would wait for work for ever.
    """
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
