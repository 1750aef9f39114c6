"""Servers of reviews, each a process of its own that begins at once."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

from fresh_interpreter import PLACES

# Seconds after which something that is waited for never comes; a loaded machine is slow.
LIMIT = 300
# What takes a second to import is imported once.
CODE = f"""
import json, os, signal, sys
sys.path[:0] = {PLACES!r}
import pyarrow.parquet, uvicorn
import dsnet.labeling, dsnet.reviewing.app, dsnet.reviewing.review, dsnet.reviewing.serving
import dsnet.reviewing.timely
from dsnet import review
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    told = json.loads(line)
    process = os.fork()
    if process == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        out = os.open(told["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(out, number)
        os._exit(review.main(told["arguments"]))
    print(process, flush=True)
"""


def until(found, limit=LIMIT):
    """What `found()` gives as soon as it is true."""
    end = time.monotonic() + limit
    while not (value := found()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
    return value


class Forks:
    """Starts `python -m dsnet.review` with these arguments, as often as it is asked."""

    def __init__(self, folder):
        self._folder, self._count = folder, 0
        self._process = subprocess.Popen(
            [sys.executable, "-c", CODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, *arguments):
        """(number of the server's process, the address that it printed)"""
        out = self._folder / f"server-{self._count}"
        self._count += 1
        told = {"arguments": [*map(str, arguments), "--no-browser"], "out": str(out)}
        print(json.dumps(told), file=self._process.stdin, flush=True)
        process = int(self._process.stdout.readline())
        line = until(lambda: out.exists() and "\n" in (text := out.read_text()) and text)
        assert line.startswith("http://"), line
        return process, line.strip()

    def kill(self, process):
        """As a power cut does: no time to write anything."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        until(lambda: not is_there(process))

    def end(self):
        self._process.stdin.close()
        self._process.wait(LIMIT)
        self._process.stdout.close()


def is_there(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
