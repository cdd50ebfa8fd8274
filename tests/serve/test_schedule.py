"""Scheduled collection, and how it ends with the server."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ociserver.serve.schedule import Schedule
from tests.cli.process import eventually, serving
from tests.serve.test_workers import is_gone


def child_of_this_process() -> int:
    """The process id of the running collection; 0 if there is none."""
    for task in Path("/proc/self/task").iterdir():
        # A thread or a process may end meanwhile.
        with contextlib.suppress(OSError):
            for pid in (task / "children").read_text().split():
                if b"collect" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return int(pid)
    return 0


@pytest.mark.skipif(sys.platform != "linux", reason="finds the process in /proc")
@pytest.mark.parametrize("frozen", [False, True])
def test_a_stop_ends_a_collection(tmp_path: Path, *, frozen: bool) -> None:
    """Also if the collection process is stopped."""
    data = tmp_path / "data"
    with serving(tmp_path, "--data", str(data)):
        pass
    schedule = Schedule(["--data", str(data)], 0.01, stop_s=0.5)
    # So that the collection waits, and does not end by itself.
    with (data / "registry.lock").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        schedule.start()
        eventually(lambda: child_of_this_process() > 0, "a collection", str)
        pid = child_of_this_process()
        if frozen:
            os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        schedule.stop()
        eventually(lambda: is_gone(pid), "its end", str)
        assert time.monotonic() - began < 5


@pytest.mark.skipif(sys.platform != "linux", reason="finds the process in /proc")
def test_a_stop_at_the_moment_of_the_start_leaves_no_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    with serving(tmp_path, "--data", str(data)):
        pass
    schedule = Schedule(["--data", str(data)], 0.01, stop_s=5)

    class Stopping(subprocess.Popen[str]):
        """The process runs before the schedule knows it, and then the server stops."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            schedule._stop.set()

    with (data / "registry.lock").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        monkeypatch.setattr("ociserver.serve.schedule.subprocess.Popen", Stopping)
        schedule.start()
        schedule._thread.join(30)
        assert not schedule._thread.is_alive()
    assert child_of_this_process() == 0
