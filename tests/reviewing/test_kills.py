"""A server that is killed at seeded moments: what it acknowledged is there, once each."""

import contextlib
import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from dsnet.data.store.decisions import read_decisions
from review_servers import LIMIT

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

TOKEN = "a-token-of-the-tests"


@pytest.fixture
def servers(store, forks):
    """Starts a server; (its process's number, its address)."""
    started = []

    def start():
        process, address = forks.start(store, "--port", "0", "--token", TOKEN)
        started.append(process)
        return process, address.partition("/?")[0]

    yield start
    forks.kill(started[-1])


class Client:
    """Decides at random, undoes now and then, sends again what nobody acknowledged."""

    def __init__(self, random):
        self.random = random
        self.acknowledged = []  # ids in the order of their sending
        self.standing = []  # what a further undo takes back, the last one at the end
        self.waiting = None
        self.address = ""

    def step(self):
        """One request that is answered; an OSError where it was not."""
        if self.waiting is None:
            self.waiting = self._request(f"c{len(self.acknowledged)}")
        path, body = self.waiting
        told = self._post(path, body)
        self.waiting = None
        self.acknowledged.append(body["id"])
        if path == "undo":
            taken = self.standing.pop()
            assert told["kind"] == taken[0] and taken[1] in ("", told["undone"])
        else:
            if "mend" in body:
                self.standing.append(("mend", "", path))
            self.standing.append(("verdict", body["id"], path))

    def _request(self, id):
        if self.standing and self.random.random() < 0.3:
            return "undo", {"id": id}
        body = {"id": id, "verdict": str(self.random.choice(["accept", "unsure"])), "seconds": 1.0}
        if self.random.random() < 0.3:
            body["mend"] = {"threshold": 0.4}
        return f"label/{self.random.integers(10)}/verdict", body

    def _post(self, path, body):
        request = urllib.request.Request(
            f"{self.address}/api/{path}", json.dumps(body).encode(), HEAD
        )
        with urllib.request.urlopen(request, timeout=LIMIT) as answer:
            return json.loads(answer.read())


HEAD = {"X-DSNet-Token": TOKEN, "X-DSNet-Reader": "Ann", "Content-Type": "application/json"}


@pytest.mark.parametrize("kills", [5, pytest.param(100, marks=pytest.mark.long)])
def test_what_was_acknowledged_survives_every_kill(store, servers, kills):
    random = np.random.default_rng(kills)
    client = Client(np.random.default_rng(19))
    for _ in range(kills):
        process, client.address = servers()
        enough, after, answered = int(random.integers(1, 6)), random.uniform(0, 0.02), 0
        doomed = threading.Event()

        def kill(process=process, after=after, doomed=doomed):
            doomed.wait()
            time.sleep(after)
            os.kill(process, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        with contextlib.suppress(OSError):  # Refused, reset, or closed without an answer.
            while True:
                client.step()
                answered += 1
                if answered == enough:
                    doomed.set()
        assert doomed.is_set(), "the server ended by itself"
        killer.join()
    _, client.address = servers()
    while client.waiting is not None:
        client.step()
    found = read_decisions(store)
    sent = [row for row in found.rows if row.kind != "mend"]
    assert [row.id for row in sent] == client.acknowledged and found.damaged == []
    assert len(client.acknowledged) > kills
    assert {row.kind for row in sent} == {"verdict", "undo"}
    labels = {path for kind, _, path in client.standing if kind == "verdict"}
    request = urllib.request.Request(f"{client.address}/api/session", headers=HEAD)
    with urllib.request.urlopen(request, timeout=LIMIT) as answer:
        assert json.loads(answer.read())["mine"] == len(labels)
    # To undo goes on over all the killed servers, to the very first row.
    while client.standing:
        client.waiting = "undo", {"id": f"last-{len(client.standing)}"}
        client.step()
    client.waiting = "undo", {}
    with pytest.raises(urllib.error.HTTPError, match="404"):
        client.step()
