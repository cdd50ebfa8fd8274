"""Ends the servers of a test run, and removes their folders, if the process of the tests ends before it has done so.

That is after `kill -9`, a crash, or the end of an xdist worker, which runs no `atexit`. A second process does it: its
stdin ends with the process of the tests, however that ends. Each line of it adds or forgets something.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

__all__ = ["add_folder", "add_server", "forget_folder", "forget_server"]

END_S: Final = 10.0
"""Seconds in which all servers must end."""

_lock: Final = threading.Lock()
_helper: subprocess.Popen[str] | None = None


def add_server(pid: int, by: signal.Signals = signal.SIGKILL) -> None:
    """A server was started, as the leader of a process group.

    Args:
        pid: its id.
        by: ends its group.
    """
    _tell(f"+server {pid} {by}")


def forget_server(pid: int, by: signal.Signals = signal.SIGKILL) -> None:
    """A server has ended, and its id may become that of another process."""
    _tell(f"-server {pid} {by}")


def add_folder(path: Path) -> None:
    """A folder was made. It is removed after the servers."""
    _tell(f"+folder {path}")


def forget_folder(path: Path) -> None:
    """A folder was removed."""
    _tell(f"-folder {path}")


def _tell(line: str) -> None:
    global _helper
    with _lock:
        if _helper is None:
            _helper = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                cwd="/",
                text=True,
                # What ends the group of the tests must not end it.
                start_new_session=True,
            )
            atexit.register(_helper.communicate)
        assert _helper.stdin is not None
        _helper.stdin.write(f"{line}\n")
        _helper.stdin.flush()


def _wait_and_end() -> None:
    there: dict[str, None] = {}
    for line in sys.stdin:
        change, what = line[0], line[1:].rstrip("\n")
        if change == "+":
            there[what] = None
        else:
            there.pop(what, None)
    servers = [tuple(map(int, each.split()[1:])) for each in there if each.startswith("server ")]
    for pid, number in servers:
        _is_sent(pid, number)
        _is_sent(pid, signal.SIGCONT)  # a test may have stopped it
    deadline = time.monotonic() + END_S
    while any(_is_sent(pid, 0) for pid, _ in servers) and time.monotonic() < deadline:
        time.sleep(0.02)
    for each in there:
        if each.startswith("folder "):
            shutil.rmtree(each.removeprefix("folder "), ignore_errors=True)


def _is_sent(group: int, number: int) -> bool:
    """Send a signal. Returns whether there is such a process group."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    _wait_and_end()
