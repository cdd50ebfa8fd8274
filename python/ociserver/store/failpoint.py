"""Failpoints: places in the code where the state of the disk changes. A test can kill the process at each of them.

Outside of such tests, `reach` does nothing. The environment variable `VARIABLE` turns the failpoints on when this
module is imported. It names a folder. The process appends a line to the file `reached` in it for each point that it
reaches. If the file `armed` contains `<n> <point>`, the process kills itself when it reaches this point for the n-th
time since that file was written.
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
"""Report that a point is reached: `reach("file synced")`. With subjects, there is one point for each of them."""
