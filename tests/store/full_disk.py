"""A disk that is full, under one file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ociserver.store import Store
from tests.store.looking import open_files


@contextmanager
def full_disk(store: Store) -> Iterator[int]:
    """The file of the upload is on a full disk. Yields a descriptor of the file itself."""
    (fd,) = open_files(store.path)
    device, file = os.open("/dev/full", os.O_RDWR), os.dup(fd)
    try:
        os.dup2(device, fd)
        yield file
    finally:
        # Unless it was closed meanwhile, which also released its lock.
        with suppress(OSError):
            os.fstat(fd)
            os.dup2(file, fd)
        os.close(device)
        os.close(file)
