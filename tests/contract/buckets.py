"""Buckets for registries that live for one test: parts of one object store, which runs as long as the tests."""

from __future__ import annotations

import atexit
import functools
import itertools
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Final

from ociserver.store.objects import ObjectStorage
from tests.support.bucket import ObjectStore, versity

__all__ = ["fresh_bucket"]

_numbers: Final = itertools.count()


Run = Callable[[Path], AbstractContextManager[ObjectStore]]
"""Runs an object store with its files in a folder."""


def fresh_bucket(run: Run = versity) -> ObjectStorage:
    """An empty part of a bucket."""
    store = _store(run)
    return ObjectStorage(url=f"{store.url}/{next(_numbers)}", options=store.options(), part_size=5 * 1024 * 1024)


@functools.cache
def _store(run: Run) -> ObjectStore:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ociserver-bucket-")))
        store = stack.enter_context(run(folder))
        # Last, so that it runs before what the store has registered (`tests.support.lifeline`) ends.
        atexit.register(stack.pop_all().close)
    return store
