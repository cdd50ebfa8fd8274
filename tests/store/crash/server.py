"""`ociserver serve` with failpoints, to be killed and started again over the same folder."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self

from ociserver.store.failpoint import VARIABLE
from tests.support.server import free_port

START_S = 30.0
DEATH_S = 20.0


class DiedError(Exception):
    """The process that was asked is gone: the server, or the command beside it."""

    def __init__(self, *, is_server: bool = True) -> None:
        super().__init__()
        self.is_server = is_server


class Victim:
    """A server over a folder of its own.

    Args:
        folder: an empty one.
        options: further arguments of `ociserver serve`.
    """

    program = Path(__file__).with_name("serving.py")
    """The `ociserver` command."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.data = folder / "data"
        self.points = folder / "points"
        self.points.mkdir(exist_ok=True)
        self.port = 0
        self._options = options
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            # Not by force: it may have workers, which would go on for a while without it.
            self._process.terminate()
            try:
                self._process.wait(DEATH_S)
            except subprocess.TimeoutExpired:
                self.kill()
        if kind is not None:
            print(self._log.read_bytes()[-8192:].decode(errors="replace"))

    def start(self) -> None:
        """Start it; returns when it answers. Raises DiedError if it is killed before."""
        self.port = free_port()
        arguments = ["--data", str(self.data), "--host", "127.0.0.1", "--port", str(self.port), "--no-access-log"]
        with self._log.open("ab") as log:
            began = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, self.program, "serve", *arguments, "--graceful-timeout", "1s", *self._options],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        # One of two workers answers before the parent knows that it has started; killed then, it ends them all.
        while b" listens on " not in self._log.read_bytes()[began:] or not self._is_ready():
            if self._process.poll() is not None:
                self._buried()
                raise DiedError
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.01)

    def run(self, *arguments: str | Path) -> None:
        """Run another command over the folder, with failpoints too. Raises DiedError if it is killed."""
        done = subprocess.run(
            [sys.executable, self.program, *arguments, "--data", self.data],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode == -signal.SIGKILL:
            raise DiedError(is_server=False)
        # 3 and 4: `check` has found something.
        assert done.returncode in (0, 3, 4), done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr

    def kill(self) -> None:
        """Kill it, now, and its workers, which are in groups of their own and would end in good order."""
        assert self._process is not None
        processes = [os.pidfd_open(pid) for pid in (*self.workers(), self._process.pid)]
        for process in processes:
            signal.pidfd_send_signal(process, signal.SIGKILL)
        self.wait_until_dead()
        for process in processes:
            # Readable once it is dead, and its locks are released.
            assert select.select([process], [], [], DEATH_S)[0]
            os.close(process)

    def workers(self) -> list[int]:
        """The processes that serve where there are several; with a single one there are none besides it."""
        assert self._process is not None
        pid = self._process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def wait_until_dead(self) -> None:
        """Wait until a failpoint has killed it; it must not have ended in any other way."""
        assert self._process is not None
        self._process.wait(DEATH_S)
        self._buried()

    def arm(self, point: str, count: int) -> None:
        """Have whichever process comes to a point for the n-th time from now on die there."""
        unfinished = self.points / "unfinished"
        unfinished.write_text(f"{count} {point}")
        unfinished.rename(self.points / "armed")

    def disarm(self) -> None:
        (self.points / "armed").unlink(missing_ok=True)

    def reached(self) -> list[str]:
        """The points that were reached since the last call, in order."""
        path = self.points / "reached"
        lines = path.read_text().splitlines() if path.exists() else []
        if path.exists():
            os.truncate(path, 0)
        return lines

    def environment(self) -> dict[str, str]:
        return {**os.environ, VARIABLE: str(self.points)}

    def _buried(self) -> None:
        assert self._process is not None
        code, self._process = self._process.returncode, None
        assert code == -signal.SIGKILL, f"the server left with {code}"

    def _is_ready(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()
