"""The stores of a server: one function for each kind of store that flags can name."""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from ociserver import store
from ociserver.interface import Backend
from ociserver.memory import Memory
from ociserver.meter import Meter
from ociserver.serve.errors import CannotServeError
from ociserver.store.external import External
from ociserver.store.folder import check_folder
from ociserver.store.modes import GROUP_READABLE, PRIVATE
from ociserver.store.sqlite import Durability
from ociserver.units import format_size

__all__ = ["Store", "claim", "durable", "memory"]


@dataclass(frozen=True, slots=True)
class Store:
    """A backend, and what the first lines of the server say about it.

    Args:
        backend: not yet open.
        place: where the data is; ends the sentence "data is kept ...".
    """

    backend: Backend
    place: str

    @property
    def unavailable(self) -> str | None:
        """Why it cannot be written to at present; None if it can."""
        return self.backend.unavailable if isinstance(self.backend, store.Store) else None


def memory(*, max_bytes: int, immutable_tags: bool, lax_child_references: bool) -> Store:
    """A registry in memory."""
    backend = Memory(max_bytes=max_bytes, immutable_tags=immutable_tags, lax_child_references=lax_child_references)
    return Store(backend, f"in memory, {format_size(max_bytes)} at most, and is lost when this process ends")


def durable(
    path: Path | None,
    external: External | None,
    *,
    durability: Durability,
    group_readable: bool,
    immutable_tags: bool,
    lax_child_references: bool,
    renew_after_s: float,
    meter: Meter | None = None,
) -> Store:
    """A durable registry.

    Args:
        path: its folder; None if it has none.
        external: what it has outside of the folder; None: nothing.
        durability: see `ociserver.Store`, also for the other arguments.

    Raises:
        CannotServeError: packages for a database or a bucket are not installed, or their settings are wrong.
    """
    try:
        backend = store.Store(
            path,
            durability=durability,
            group_readable=group_readable,
            immutable_tags=immutable_tags,
            lax_child_references=lax_child_references,
            renew_after_s=renew_after_s,
            meter=meter,
            **({} if external is None else external.made()),
        )
    except ValueError as error:
        raise CannotServeError(str(error)) from None
    return Store(backend, " and ".join(f"in {each}" for each in (path, external and external.name) if each))


def claim(path: Path, *, group_readable: bool) -> int:
    """Reserve the folder for this server until the process ends.

    Two servers on one folder would not damage the data, but each would collect and answer by its own flags.

    Returns:
        The file descriptor that holds the lock.

    Raises:
        CannotServeError: the folder belongs to another program, another server uses it, or it cannot be written to.
    """
    try:
        # The store checks this too, but only after this function has written to the folder.
        check_folder(path)
        modes = GROUP_READABLE if group_readable else PRIVATE
        modes.make_folder(path)
        fd = os.open(path / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, modes.file)
    except store.StoreError as error:
        raise CannotServeError(f"{error}.") from error
    except OSError as error:
        # A text that cannot be a path is not shown: it may be a key that was given in place of a path.
        shown = "the given folder" if error.errno == errno.ENAMETOOLONG else path
        raise CannotServeError(
            f"cannot keep data in {shown}: {error.strerror}. Set --data to a folder that this user can write to, or "
            "use --memory to keep nothing on disk."
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise CannotServeError(
            f"another `ociserver serve` is running on {path}. Stop it, or serve another folder with --data. To serve "
            "one folder with several processes, use --workers."
        ) from None
    return fd
