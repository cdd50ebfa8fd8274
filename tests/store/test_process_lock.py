"""The lock between processes: who gets it, and how a wait is seen and ended."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ociserver.store.process_lock import ProcessLock

HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "r+")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.lock"
    path.touch()
    return path


@pytest.fixture
def lock(path: Path) -> Iterator[ProcessLock]:
    lock = ProcessLock(path, 0o600)
    yield lock
    lock.close()


@contextmanager
def held_elsewhere(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the lock, until the block ends."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def is_free(path: Path) -> bool:
    other = ProcessLock(path, 0o600)
    try:
        return other.try_acquire()
    finally:
        other.close()


class Waiter:
    """A thread that waits for a lock."""

    def __init__(self, lock: ProcessLock) -> None:
        self.got: list[bool] = []
        self.thread = threading.Thread(target=lambda: self.got.append(lock.acquire()), daemon=True)
        self.thread.start()
        deadline = time.monotonic() + 10
        while lock.waited_s() is None:
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def result(self) -> bool:
        self.thread.join(10)
        (got,) = self.got
        return got


def test_it_excludes_others_until_it_is_released(lock: ProcessLock, path: Path) -> None:
    assert lock.acquire()
    assert not is_free(path)
    lock.release()
    assert is_free(path)
    assert lock.try_acquire()
    assert not is_free(path)
    lock.release()
    lock.release()
    assert is_free(path)


def test_a_wait_ends_with_the_process_that_holds_it(lock: ProcessLock, path: Path) -> None:
    with held_elsewhere(path) as holder:
        assert not lock.try_acquire()
        waiter = Waiter(lock)
        time.sleep(0.05)
        assert (lock.waited_s() or 0) >= 0.05
        holder.kill()
        assert waiter.result()
    assert lock.waited_s() is None
    assert not is_free(path)


def test_a_wait_with_a_bound(lock: ProcessLock, path: Path) -> None:
    with held_elsewhere(path):
        began = time.monotonic()
        assert not lock.acquire_within(0.1)
        assert 0.1 <= time.monotonic() - began < 5
        lock.close()
    other = ProcessLock(path, 0o600)
    # A thread that still waited releases it at once.
    assert other.acquire_within(10)
    other.close()


def test_a_bound_that_is_not_reached(lock: ProcessLock, path: Path) -> None:
    with held_elsewhere(path) as holder:
        threading.Timer(0.05, holder.kill).start()
        assert lock.acquire_within(10)
    assert not is_free(path)
    lock.release()
    assert is_free(path)


def test_closing_leaves_a_waiting_thread_behind(lock: ProcessLock, path: Path) -> None:
    with held_elsewhere(path) as holder:
        waiter = Waiter(lock)
        lock.close()
        assert lock.waited_s() is None
        assert waiter.got == []
        holder.kill()
        assert not waiter.result()
    assert is_free(path)
    assert not lock.acquire()
    assert not lock.try_acquire()


def test_closing_ends_a_wait_with_a_bound(lock: ProcessLock, path: Path) -> None:
    with held_elsewhere(path):
        threading.Timer(0.05, lock.close).start()
        began = time.monotonic()
        assert not lock.acquire_within(60)
        assert time.monotonic() - began < 30


def test_closing_releases(lock: ProcessLock, path: Path) -> None:
    assert lock.acquire()
    lock.close()
    assert is_free(path)


def test_the_mode_of_a_new_file(tmp_path: Path) -> None:
    ProcessLock(tmp_path / "new.lock", 0o600).close()
    assert (tmp_path / "new.lock").stat().st_mode & 0o777 == 0o600
