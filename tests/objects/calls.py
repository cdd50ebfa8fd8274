"""Calls of `ociserver_objects` that wait for their result."""

from __future__ import annotations

import queue
import select
from collections.abc import Callable
from functools import partial
from typing import Any

from ociserver_objects import Bucket, PartWriter, Reading

__all__ = ["kept", "next_of", "read", "rest_of", "result_of"]

Done = Callable[[Any, Exception | None], object]


def result_of(ask: Callable[[Done], None], *, timeout_s: float = 60) -> Any:
    """Wait for the result of `ask(done)`, or raise its error."""
    done: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()
    ask(lambda result, error: done.put((result, error)))
    result, error = done.get(timeout=timeout_s)
    if error is not None:
        raise error
    return result


def kept(writer: PartWriter) -> None:
    """Wait until the full parts are stored, and raise what went wrong."""
    done: queue.SimpleQueue[None] = queue.SimpleQueue()
    writer.when_kept(lambda: done.put(None))
    done.get(timeout=60)
    writer.check()


def read(bucket: Bucket, key: str, start: int, stop: int) -> bytes | None:
    """Read a range. None if the object does not exist."""
    reading: Reading | None = result_of(lambda done: bucket.read(key, start, stop, done))
    return None if reading is None else rest_of(bucket, reading)


def next_of(bucket: Bucket, reading: Reading, *, timeout_s: float = 60) -> bytes:
    """Wait for the next piece, or raise its error."""
    while (piece := reading.take("next")) is None:
        assert select.select([bucket], [], [], timeout_s)[0], "no piece has arrived"
        assert bucket.arrived() == ["next"]
    return piece


def rest_of(bucket: Bucket, reading: Reading) -> bytes:
    return b"".join(iter(partial(next_of, bucket, reading), b""))
