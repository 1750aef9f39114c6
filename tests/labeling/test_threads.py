"""Threads of a batch: bounded, their memory given back, and no lock that outlives a fork."""

import numpy as np
import pytest

from dsnet.labeling import label_batch
from fresh_interpreter import printed

MARK = [20.0, 32.0, 44.0, 32.0, 32.0, 24.0, 32.0, 40.0]
SET_UP = f"""
import os, sys, threading, time
import numpy as np
from dsnet.labeling import label_batch

def images(count, side):
    y, x = np.mgrid[:side, :side]
    disc = ((x - 32) ** 2 / 144 + (y - 32) ** 2 / 64 < 1).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 0.02, (count, side, side))
    return (0.2 + 0.6 * disc + noise).clip(0, 1).astype(np.float32)

def resident():
    with open("/proc/self/status") as file:
        return next(int(l.split()[1]) / 1024 for l in file if l.startswith("VmRSS"))

mark = {MARK}
"""


def test_any_number_of_threads_gives_the_same_label():
    image = np.random.default_rng(1).random((64, 64), dtype=np.float32)
    want, *_ = label_batch([image] * 3, [MARK] * 3, threads=1)
    for threads in (2, 10**6, 2**31 - 1, 10**30):
        for label in label_batch([image] * 3, [MARK] * 3, threads=threads):
            assert np.array_equal(label.alpha, want.alpha)


@pytest.mark.skipif("not __import__('sys').platform.startswith('linux')")
def test_no_more_threads_work_than_there_are_cores():
    """Of a process that may run on one core; counted while they work."""
    code = """
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
batch = images(64, 64)
label_batch(batch[:1], [mark], 1)
most, done = [0], threading.Event()
def count():
    while not done.is_set():
        most[0] = max(most[0], len(os.listdir("/proc/self/task")))
watch = threading.Thread(target=count)
watch.start()
before = len(os.listdir("/proc/self/task"))
label_batch(batch, [mark] * 64, 10**6)
done.set()
watch.join()
print(most[0] - before)
"""
    assert int(printed(SET_UP + code)) <= 0


@pytest.mark.skipif("not __import__('sys').platform.startswith('linux')")
def test_large_images_leave_no_memory_behind():
    code = """
small = images(2, 64)
label_batch(small, [mark] * 2, 2)
large = images(2, 1024)
before = resident()
label_batch(large, [mark] * 2, 2)
print(resident() - before)
"""
    # A workspace of 1024 x 1024 pixels alone has more than 100 MB.
    assert float(printed(SET_UP + code)) < 60


@pytest.mark.skipif("not hasattr(__import__('os'), 'fork')")
def test_a_process_forked_while_others_label_labels_too():
    code = """
batch = images(1, 64)
want = label_batch(batch, [mark], 1)[0].alpha.tobytes()
done = threading.Event()
def work():
    while not done.is_set():
        label_batch(batch, [mark], 1)
others = [threading.Thread(target=work) for _ in range(2)]
for other in others:
    other.start()
right = 0
for _ in range(100):
    child = os.fork()
    if child == 0:
        os._exit(0 if label_batch(batch, [mark], 2)[0].alpha.tobytes() == want else 1)
    end, found = time.monotonic() + 60, 0
    while not found and time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.001)
    if not found:
        os.kill(child, 9)
        os.waitpid(child, 0)
        break
    right += status == 0
done.set()
for other in others:
    other.join()
print(right)
"""
    assert int(printed(SET_UP + code)) == 100
