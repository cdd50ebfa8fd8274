"""Points at which what is on the disk changes, so that a test can have the process die at each of them.

Off, which is always except in those tests, reaching a point is a call that does nothing. The environment
variable turns them on when this module is imported. It names a folder: what is reached is appended to its
file `reached`, a line each, and where its file `armed` says `<n> <point>`, the process kills itself when it
comes to that point for the n-th time since the file was written.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

__all__ = ["VARIABLE", "reach"]

VARIABLE: Final = "OCISERVER_FAILPOINTS"


def _off(point: str, subjects: Iterable[object] = ()) -> None:
    pass


class _Points:
    def __init__(self, folder: Path) -> None:
        self._armed = folder / "armed"
        self._reached = os.open(folder / "reached", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._order = ""
        self._count = 0

    def __call__(self, point: str, subjects: Iterable[object] = ()) -> None:
        for name in [f"{point} {subject}" for subject in subjects] or [point]:
            os.write(self._reached, f"{name}\n".encode())
            self._die_if_armed(name)

    def _die_if_armed(self, name: str) -> None:
        try:
            order = self._armed.read_text()
        except FileNotFoundError:
            order = ""
        if order != self._order:
            self._order, self._count = order, 0
        wanted, _, point = order.partition(" ")
        if point == name:
            self._count += 1
            if self._count == int(wanted):
                os.kill(os.getpid(), signal.SIGKILL)


_folder: Final = os.environ.get(VARIABLE)

reach: Final[Callable[..., None]] = _Points(Path(_folder)) if _folder else _off
"""Tell that a point is reached: `reach("file synced")`; with subjects, one point for each of them."""
