"""Rows that tests of large stores write, and what is in them."""

import numpy as np

from dsnet.data.store import LabelRecord, StoreWriter, open_store


def row(number):
    if number % 7 == 3:
        return LabelRecord.from_error(f"k{number:06d}", "s.png", f"broken {number % 5}")
    alpha = np.random.default_rng(number).random((3, 2), dtype=np.float32)
    return LabelRecord(
        key=f"k{number:06d}",
        image=1 - alpha,
        alpha=alpha,
        binary=alpha >= 0.5,
        trimap=np.full((3, 2), 128, np.uint8),
        quality={"overall": number % 4 / 4},
    )


def write(path, numbers, **options):
    chosen = {"shard_rows": 1, "shard_seconds": 1e9, **options}
    with StoreWriter(path, {}, **chosen) as writer:
        for number in numbers:
            writer.append(row(number))
    return open_store(path)


def keys_of(numbers):
    return [f"k{number:06d}" for number in numbers]


def rows_of(path):
    return [
        (r.key, r.status, r.error, None if r.alpha is None else r.alpha.tobytes(), r.quality)
        for r in open_store(path)
    ]
