"""A small file system of its own, which can be filled up and made read-only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.tools import cannot_run

PIECES = (65536, 4096, 1)


class Disk:
    """A mounted one; the filler takes all the room that nobody else has."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "data"
        self._filler = root / "filler"

    def fill(self, leave: int = 0) -> None:
        """Take what is free to the last byte, but for some."""
        with self._filler.open("ab", buffering=0) as file:
            for size in PIECES:
                try:
                    while self.left() >= leave + size and file.write(b"x" * size):
                        pass
                except OSError:
                    continue

    def left(self) -> int:
        """Bytes that are free."""
        status = os.statvfs(self.root)
        return status.f_bavail * status.f_frsize

    def make_room(self) -> None:
        self._filler.unlink()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Nothing can be opened for writing; what is open already can be written, as on a read-only bind mount."""
        run("mount", "--bind", str(self.root), str(self.root))
        try:
            run("mount", "-o", "remount,ro,bind", str(self.root))
            yield
        finally:
            run("umount", str(self.root))


@contextmanager
def small_disk(root: Path, size: str = "16m") -> Iterator[Disk]:
    """Mount a disk in memory, where this process may."""
    root.mkdir()
    try:
        run("mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(root))
    except (OSError, subprocess.CalledProcessError) as error:
        cannot_run(f"a small disk needs root, and the right to mount: {error}")
    try:
        yield Disk(root)
    finally:
        # What a process that was killed a moment ago still holds must not keep it here.
        run("umount", "--lazy", str(root))


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
