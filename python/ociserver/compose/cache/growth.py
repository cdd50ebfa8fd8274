"""Where the bytes of a fill can be read while they come: in the local upload's own file, or in one beside it."""

from __future__ import annotations

import os
import tempfile

from ociserver.interface import Backend
from ociserver.store import Store

__all__ = ["Growth", "store_of"]


class Growth:
    """An open file that another hand, or another process, still writes to."""

    def __init__(self, fd: int, *, own: bool = False) -> None:
        self._fd = fd
        self._own = own

    @classmethod
    def spool(cls) -> Growth:
        """A file beside an upload that is not in a store."""
        with tempfile.TemporaryFile() as file:
            return cls(os.dup(file.fileno()), own=True)

    @classmethod
    def open(cls, store: Store, key: str) -> Growth | None:
        """The file of an upload in a store; None if it has none yet, or none any more."""
        try:
            return cls(os.open(store.blobs.path(key), os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            return None

    @property
    def own(self) -> bool:
        """Whether `append` has to be called with everything."""
        return self._own

    def append(self, data: bytes, at: int) -> None:
        """Write what the upload has got."""
        while data:
            written = os.pwrite(self._fd, data, at)
            data, at = data[written:], at + written

    def read(self, at: int, size: int) -> bytes:
        """Some of the bytes from there on."""
        return os.pread(self._fd, size, at)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)


def store_of(backend: Backend) -> Store | None:
    """The store that a backend is, or wraps."""
    while not isinstance(backend, Store):
        inner = getattr(backend, "inner", None)
        if not isinstance(inner, Backend):
            return None
        backend = inner
    return backend
