"""A program in a terminal, as a person sees it: what it draws, and what is typed."""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fcntl import ioctl
from struct import pack
from termios import TIOCSWINSZ

from tests.cli.process import TIMEOUT_S, clean_environment

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|[\x07\x08]")

COLUMNS = 200


@dataclass(slots=True)
class Screen:
    """The terminal of a running program."""

    process: subprocess.Popen[bytes]
    descriptor: int
    raw: str = field(default="")
    """All that was drawn, with its control sequences."""

    @property
    def text(self) -> str:
        """All that was drawn, without control sequences."""
        return _CONTROL.sub("", self.raw)

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until the text on the screen matches."""
        deadline = time.monotonic() + TIMEOUT_S
        while not (found := re.search(pattern, self.text)):
            assert self._read(deadline), f"waited for {pattern!r}:\n{self.raw!r}"
        return found

    def wait_for_end(self) -> int:
        """Wait for the end of the program. Returns its exit status."""
        while self._read(time.monotonic() + TIMEOUT_S):
            pass
        return self.process.wait(TIMEOUT_S)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self.descriptor], [], [], max(0.0, deadline - time.monotonic()))
        piece = b""
        # Linux answers EIO when no process has the terminal open any more.
        with contextlib.suppress(OSError):
            piece = os.read(self.descriptor, 1 << 16) if ready else b""
        self.raw += piece.decode(errors="replace")
        return bool(piece)


@contextmanager
def on_screen(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Iterator[Screen]:
    """Run a program in a terminal of its own. It is killed at the end of the block if it still runs."""
    screen, terminal = os.openpty()
    ioctl(terminal, TIOCSWINSZ, pack("HHHH", 50, COLUMNS, 0, 0))
    kept = {name: value for name, value in clean_environment(None).items() if name not in ("NO_COLOR", "COLORTERM")}
    process = subprocess.Popen(
        command,
        env={**kept, "TERM": "xterm-256color", **(environment or {})},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    try:
        yield Screen(process, screen)
    finally:
        process.kill()
        process.wait()
        os.close(screen)
