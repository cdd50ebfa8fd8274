"""Who may read what the store writes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["GROUP_READABLE", "PRIVATE", "Modes"]


@dataclass(frozen=True, slots=True)
class Modes:
    """Permissions (chmod(2)) of what is made; the umask takes away from them. What exists keeps its own.

    Args:
        folder: of folders.
        file: of files.
    """

    folder: int
    file: int

    def make_folder(self, path: Path) -> None:
        """Make a folder, if it is missing; those above it get what the umask says. Raises OSError."""
        path.mkdir(mode=self.folder, parents=True, exist_ok=True)

    def make_file(self, path: Path) -> None:
        """Make an empty file, if it is missing. Raises OSError.

        One that exists is not even opened: closing it would drop the locks that this process has on it.
        """
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self.file))
        except FileExistsError:
            return


PRIVATE: Final = Modes(0o700, 0o600)
"""Only the user that the server runs as."""

GROUP_READABLE: Final = Modes(0o750, 0o640)
"""Its group may read, for a backup by another user."""
