"""A review that is served, and a reader who waits for what is seen."""

import contextlib
import random
import socket

import numpy as np

from dsnet.data.phantom import KINDS, make_phantom
from dsnet.data.store import LabelRecord, StoreWriter
from dsnet.data.store.decisions import read_decisions
from dsnet.labeling import label_recist
from review_servers import LIMIT, until

TOKEN = "a-token-of-the-tests-1234"


def phantom_records(count):
    """Phantoms of every kind with their labels, and with a slice below and one above."""
    for number in range(count):
        kind, seed = KINDS[number % len(KINDS)], number // len(KINDS)
        phantom = make_phantom(kind, 48, seed)
        label = label_recist(phantom.image, phantom.mark)
        yield LabelRecord(
            key=f"{kind}-{seed}",
            source="phantom",
            image=phantom.image,
            alpha=label.alpha,
            binary=label.binary,
            trimap=label.trimap,
            neighbours=np.stack([phantom.image[::-1], phantom.image[:, ::-1]]),
            mark=phantom.mark.coordinates,
            spacing=phantom.spacing,
            quality=dict(label.quality),
            notes=tuple(label.notes),
            metadata={"kind": kind, "seed": seed},
        )


def write_store(path, records):
    with StoreWriter(path, {"crop": 48}, shard_seconds=1e9) as writer:
        for record in records:
            writer.append(record)
    return path


class Served:
    """`python -m dsnet.review` of a store, on one port for as long as the test runs."""

    def __init__(self, forks, store, *options):
        self.forks, self.store, self.options = forks, store, options
        self.port = free_port()
        self.process = None

    @property
    def origin(self):
        return f"http://127.0.0.1:{self.port}"

    def address(self, reader):
        return f"{self.origin}/?token={TOKEN}&reader={reader}"

    def start(self):
        self.process, printed = self.forks.start(
            self.store, "--port", self.port, "--token", TOKEN, *self.options
        )
        assert printed == f"{self.origin}/?token={TOKEN}"
        return self

    def kill(self):
        """As a power cut does: no time to write anything."""
        if self.process is not None:
            self.forks.kill(self.process)
            self.process = None

    def rows(self, kind="verdict"):
        """The decisions that stand on the disk, one of a kind after the other."""
        rows = read_decisions(self.store).rows
        undone = {row.undoes for row in rows if row.kind == "undo"}
        return [row for row in rows if row.kind == kind and row.id not in undone]

    def wait_for_rows(self, count, kind="verdict"):
        until(lambda: len(self.rows(kind)) >= count)
        return self.rows(kind)


def free_port():
    """A port that stays free while its server is dead: none that connections are given."""
    for _ in range(1000):
        port = random.SystemRandom().randrange(10_000, 32_000)
        with socket.socket() as free, contextlib.suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


class Reader:
    """A reader at the page, who waits for what is seen."""

    def __init__(self, page, served, name):
        self.page = page
        self.served = served
        self.name = name
        self.faults = []
        page.set_default_timeout(1000 * LIMIT)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("dialog", lambda dialog: (self.faults.append(dialog.message), dialog.dismiss()))

    def open(self):
        self.page.goto(self.served.address(self.name))
        self.wait_for_label()
        return self

    def ask(self, script, argument=None):
        return self.page.evaluate(script, argument)

    def until(self, script, argument=None):
        return until(lambda: self.ask(script, argument))

    @property
    def key(self):
        return self.ask("() => window.dsnetReview?.shown?.label?.key ?? null")

    @property
    def said(self):
        return self.page.locator("#said").text_content()

    def wait_for_label(self, other_than=None):
        return until(lambda: (key := self.key) is not None and key != other_than and key)

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def decide(self, *keys):
        """Press keys that decide; the key of the label that was decided on."""
        before = self.wait_for_label()
        self.press(*keys)
        self.wait_for_label(other_than=before)
        return before

    def place(self, x, y):
        """Where on the page a crop pixel is."""
        return self.ask(
            """([x, y]) => {
                const { view } = dsnetReview;
                const box = view.canvas.getBoundingClientRect();
                const [left, top] = view.toScreen([x, y]);
                return [left + box.left, top + box.top];
            }""",
            [x, y],
        )

    def drag(self, start, end):
        """Drag from one crop pixel to another."""
        self.page.mouse.move(*self.place(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.place(*end), steps=5)
        self.page.mouse.up()

    @property
    def mark(self):
        return self.ask("() => dsnetReview.mending.mark")

    @property
    def alpha(self):
        """The soft mask that is shown, as bytes."""
        return bytes(self.ask("() => Array.from(dsnetReview.shown.picture.alpha)"))
