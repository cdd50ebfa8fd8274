"""What a cache uses of its local registry, apart from its interface: the store in it, and a folder."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from ociserver.compose.cache.limits import FOLDER
from ociserver.interface import Backend
from ociserver.store import Store, StoreError
from ociserver.store.modes import PRIVATE, Modes

__all__ = ["Folder", "folder_of", "store_of"]


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of downloads in progress.

    Args:
        path: of the folder.
        modes: of the folder and its files.
        is_exposed: whether others could have made it, as below a temporary folder: then it must belong to our user.
    """

    path: Path
    modes: Modes = PRIVATE
    is_exposed: bool = False

    def make(self) -> None:
        """Create the folder if it is missing.

        Raises:
            StoreError: it belongs to somebody else.
            OSError: it cannot be created.
        """
        self.modes.make_folder(self.path)
        if self.is_exposed:
            found = os.lstat(self.path)
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
                raise StoreError(
                    f"{self.path}, the folder for downloads of the cache, is not a folder of this user to which nobody "
                    "else can write: remove it, or set another one"
                )


def store_of(backend: Backend) -> Store | None:
    """The store that a backend is or wraps; None if there is none."""
    while not isinstance(backend, Store):
        inner = getattr(backend, "inner", None)
        if not isinstance(inner, Backend):
            return None
        backend = inner
    return backend


def folder_of(store: Store | None, downloads: str | os.PathLike[str] | None) -> Folder | None:
    """The folder that the processes of this node share; None if there is none.

    Args:
        store: the local registry.
        downloads: the folder that was chosen.
    """
    if downloads is not None:
        return Folder(Path(downloads), is_exposed=True)
    if store is not None and store.has_folder:
        return Folder(store.path / FOLDER, store.modes)
    return None
