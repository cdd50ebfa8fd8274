"""Buckets for registries that live for one test: parts of one object store, which runs as long as the tests."""

from __future__ import annotations

import atexit
import functools
import itertools
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from ociserver.store.objects import ObjectStorage
from tests.support.bucket import Versity, versity

__all__ = ["fresh_bucket"]

_numbers: Final = itertools.count()


def fresh_bucket() -> ObjectStorage:
    """An empty part of a bucket."""
    store = _store()
    return ObjectStorage(url=f"{store.url}/{next(_numbers)}", options=store.options(), part_size=5 * 1024 * 1024)


@functools.cache
def _store() -> Versity:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ociserver-bucket-")))
        store = stack.enter_context(versity(folder))
        # Last, so that it runs before what the store has registered (`tests.support.lifeline`) ends.
        atexit.register(stack.pop_all().close)
    return store
