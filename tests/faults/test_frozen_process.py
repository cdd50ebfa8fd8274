"""A frozen process: it holds the lock of the writers, or is one of several workers.

With FULL_TESTS the limits are those of a user, 10 seconds for a write and 20 for a worker.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from ociserver.serve.heartbeat import SILENCE_S
from ociserver.serve.workers import STOP_MARGIN_S
from ociserver.store.sqlite import START_WAIT_S
from ociserver.store.sqlite_writer import LOCK_WAIT_S
from tests.cli.process import eventually, serving
from tests.faults import impatient
from tests.faults.registry import SMALL, Registry, error_of, image, ociserver
from tests.support.http import send
from tests.support.server import PROGRAM, START_TIMEOUT_S, Server, free_port, serve

FULL = bool(os.environ.get("FULL_TESTS"))
IMPATIENT = (sys.executable, impatient.__file__)
LOCK_S = LOCK_WAIT_S if FULL else impatient.LOCK_WAIT_S
SILENT_S = SILENCE_S if FULL else impatient.SILENCE_S
STOP_S = STOP_MARGIN_S if FULL else impatient.STOP_MARGIN_S
MARGIN_S = 5.0
"""For a busy machine."""

REASON = "another process holds the lock of the registry's database and does not release it"


@contextmanager
def lock_held(data: Path) -> Iterator[None]:
    """Like `flock registry.lock sleep 300`."""
    with (data / "registry.lock").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def ready(server: Server) -> tuple[int, str]:
    answer = send(server, "GET", "/readyz")
    return answer.status, answer.body.decode().strip()


def wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + MARGIN_S
    while ready(server) != (200, "ok"):
        assert time.monotonic() < deadline, ready(server)
        time.sleep(0.02)


def test_a_process_that_stands_still_with_the_lock(tmp_path: Path) -> None:
    """Writes are refused in time, then at once; the log tells once; all goes on when the lock is free."""
    data = tmp_path / "data"
    program = PROGRAM if FULL else IMPATIENT
    with serve(["--data", str(data)], tmp_path, program=program) as server:
        registry = Registry(server)
        registry.seed()
        with lock_held(data):
            assert ready(server) == (200, "ok")
            writes = (
                registry.start,
                lambda: registry.push(os.urandom(10)),
                lambda: registry.push_manifest("two", image(SMALL)),
                lambda: registry.ask("DELETE", "manifests/one"),
            )
            bound_s = LOCK_S + MARGIN_S
            for write in (*writes, *writes):
                began = time.monotonic()
                answer = write()
                assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
                assert error_of(answer) == REASON
                assert time.monotonic() - began < bound_s
                bound_s = LOCK_S / 2
            assert ready(server) == (503, REASON)
            assert send(server, "GET", "/healthz").status == 200
            registry.assert_reads()
        wait_until_ready(server)
        registry.wait_for_log("the lock is free again; writes continue")
        assert registry.push(os.urandom(10)).status == 201
        registry.assert_reads()
        errors = [line for line in server.log.read_text().splitlines() if " error " in line]
        assert len(errors) == 1
        assert "another process has held the lock for" in errors[0]
        assert f"fuser -v {data / 'registry.lock'}" in errors[0]
    assert "nothing is wrong" in ociserver("check", "--content", "--data", data)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stop_while_a_process_stands_still_with_the_lock(workers: str, tmp_path: Path) -> None:
    """The write that waits is cut off with its request, and nothing else holds the server."""
    data = tmp_path / "data"
    with serving(tmp_path, "--data", str(data), "--workers", workers, "--graceful-timeout", "500ms") as server:
        with lock_held(data):
            waiting = server.http()
            waiting.request("POST", "/v2/a/blobs/uploads/")
            time.sleep(0.2)
            began = time.monotonic()
            server.signal(signal.SIGTERM)
            assert server.exit_status() == 1, "a request was cut off"
            assert time.monotonic() - began < 0.5 + MARGIN_S
        assert "Traceback" not in server.printed()
    assert "nothing is wrong" in ociserver("check", "--data", data)


def test_a_start_while_a_process_stands_still_with_the_lock(tmp_path: Path) -> None:
    """It waits, and reports that it is not ready. It continues when the lock is free, or ends at a signal."""
    data = tmp_path / "data"
    with serve(["--data", str(data)], tmp_path) as server:
        Registry(server).seed()
    with ExitStack() as stack:
        held = stack.enter_context(ExitStack())
        held.enter_context(lock_held(data))
        for is_stopped in (True, False):
            port = free_port()
            command = [*PROGRAM, "serve", "--data", str(data), "--host", "127.0.0.1", "--port", str(port)]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            server = Server("127.0.0.1", port, process.pid, tmp_path / "none")
            wait_until_not_ready(server)
            if not is_stopped:
                held.close()
                wait_until_ready(server)
            process.terminate()
            # Sooner than the start would give up by itself.
            said, _ = process.communicate(timeout=START_WAIT_S / 2)
            assert (process.returncode, "Traceback" in said) == (0, False)


def wait_until_not_ready(server: Server) -> None:
    """Until it listens, and says that its store is not open."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        with suppress(OSError):
            assert ready(server) == (503, "the store is being opened")
            return
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Pusher(threading.Thread):
    """Pushes small blobs until it is stopped. A request to a killed worker gets no answer."""

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self.statuses: list[int] = []
        self.longest_s = 0.0
        self.stop = threading.Event()
        self._registry = registry

    def run(self) -> None:
        while not self.stop.is_set():
            began = time.monotonic()
            with suppress(OSError, HTTPException):
                self.statuses.append(self._registry.push(os.urandom(100)).status)
            self.longest_s = max(self.longest_s, time.monotonic() - began)


def workers_of(pid: int) -> set[int]:
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def holds_lock(pid: int, data: Path) -> bool:
    """Whether a process has the lock of the writers (proc_locks(5))."""
    inode = (data / "registry.lock").stat().st_ino
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any(each[1] == "FLOCK" and each[4] == str(pid) and each[5].endswith(f":{inode}") for each in lines)


def freeze_with_lock(pid: int, data: Path) -> None:
    """Stop a process in the middle of a transaction."""
    for _ in range(2000):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.001)
        if holds_lock(pid, data):
            return
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.001)
    raise AssertionError("it was never in a transaction")


@pytest.mark.skipif(sys.platform != "linux", reason="finds workers and locks in /proc")
def test_a_worker_that_stands_still(tmp_path: Path) -> None:
    """With the lock of the writers: it is killed and replaced, and the pushes to the other one go on."""
    data = tmp_path / "data"
    program = PROGRAM if FULL else IMPATIENT
    with serve(["--data", str(data), "--workers", "2", "--no-access-log"], tmp_path, program=program) as server:
        registry = Registry(server)
        registry.seed()
        before = workers_of(server.pid)
        frozen = min(before)
        pushers = [Pusher(registry) for _ in range(4)]
        for pusher in pushers:
            pusher.start()
        try:
            freeze_with_lock(frozen, data)
            began = time.monotonic()
            eventually(lambda: len(workers_of(server.pid) - before) == 1, "another worker", server.log_tail)
            assert frozen not in workers_of(server.pid)
            assert time.monotonic() - began < SILENT_S + 2 * MARGIN_S
            done = [len(pusher.statuses) for pusher in pushers]
            eventually(
                lambda: all(len(each.statuses) > n + 5 for each, n in zip(pushers, done, strict=True)),
                "pushes that go on",
                server.log_tail,
            )
        finally:
            for pusher in pushers:
                pusher.stop.set()
            for pusher in pushers:
                pusher.join()
        assert {status for pusher in pushers for status in pusher.statuses} <= {201, 503}
        assert max(pusher.longest_s for pusher in pushers) < SILENT_S + 2 * MARGIN_S
        registry.wait_for_log(r"worker \d has not responded for \d+ s; killing it and starting another")
        registry.assert_reads()
    assert "nothing is wrong" in ociserver("check", "--content", "--data", data)


@pytest.mark.skipif(sys.platform != "linux", reason="finds workers in /proc")
def test_a_stop_with_a_worker_that_stands_still(tmp_path: Path) -> None:
    """It hears of no signal but the last."""
    arguments = ("--data", str(tmp_path / "data"), "--workers", "2", "--graceful-timeout", "500ms")
    with serving(tmp_path, *arguments, program=None if FULL else IMPATIENT) as server:
        os.kill(min(workers_of(server.pid)), signal.SIGSTOP)
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.exit_status() != 0
        assert time.monotonic() - began < 0.5 + STOP_S + MARGIN_S
