"""Permissions of the folders and files of a store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["GROUP_READABLE", "PRIVATE", "Modes"]


@dataclass(frozen=True, slots=True)
class Modes:
    """Permissions (chmod(2)) of new folders and files, less the umask. Existing ones keep their permissions.

    Args:
        folder: permissions of folders.
        file: permissions of files.
    """

    folder: int
    file: int

    def make_folder(self, path: Path) -> None:
        """Create a folder if it is missing. Missing folders above it get default permissions. Raises OSError."""
        path.mkdir(mode=self.folder, parents=True, exist_ok=True)

    def make_file(self, path: Path) -> None:
        """Create an empty file if it is missing. Raises OSError.

        An existing file is not even opened: closing it would release the locks that this process has on it.
        """
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self.file))
        except FileExistsError:
            return


PRIVATE: Final = Modes(0o700, 0o600)
"""Only the user of the server may read and write."""

GROUP_READABLE: Final = Modes(0o750, 0o640)
"""The group may read too, for example for a backup by another user."""
