"""A disk whose writes and syncs take long, or fail: a library between the server and the system sees to that."""

from __future__ import annotations

import errno
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.registry import HALF, LARGE, SMALL, Registry, error_of, ociserver
from tests.support.server import PROGRAM, serve
from tests.support.tools import cannot_run

SOURCE = Path(__file__).with_name("disk.c")
DELAY_S = 0.1
READS = 200


class Faults:
    """What the next writes and syncs of the server meet."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def set(self, *, delay_s: float = 0, error: int = 0) -> None:
        unfinished = self._path.with_suffix(".unfinished")
        unfinished.write_text(f"{delay_s * 1e6:.0f} {error}")
        unfinished.rename(self._path)

    def end(self) -> None:
        self._path.unlink()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        cannot_run("a C compiler (cc) on Linux is needed to make a disk slow")
    path = tmp_path_factory.mktemp("library") / "disk.so"
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *options, "-o", path, SOURCE, "-ldl"], check=True)
    return path


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    return Faults(tmp_path / "fault")


@pytest.fixture
def registry(library: Path, faults: Faults, tmp_path: Path) -> Iterator[Registry]:
    program = ("env", f"LD_PRELOAD={library}", f"DISK_FAULT={tmp_path / 'fault'}", *PROGRAM)
    with serve(["--data", str(tmp_path / "data")], tmp_path, program=program) as server:
        registry = Registry(server)
        registry.seed()
        yield registry


@pytest.mark.alone
def test_reads_do_not_wait_for_pushes(registry: Registry, faults: Faults) -> None:
    """Of small blobs, of files and of lists, while more pushes wait than there are threads."""
    faults.set(delay_s=DELAY_S)
    statuses: list[int] = []
    contents = [os.urandom(30_000) for _ in range(24)] + [os.urandom(100) for _ in range(8)]
    began = time.monotonic()
    pushes = [
        threading.Thread(target=lambda content=content: statuses.append(registry.push(content).status))
        for content in contents
    ]
    for push in pushes:
        push.start()
    reads: list[float] = []
    while len(reads) < READS and len(statuses) < len(contents):
        before = time.monotonic()
        assert registry.blob((SMALL, LARGE)[len(reads) % 2]).status == 200
        reads.append(time.monotonic() - before)
    at_the_end = len(statuses)
    for push in pushes:
        push.join()
    took = time.monotonic() - began
    faults.end()  # so that the server stops soon
    assert statuses == [201] * len(contents)
    assert took > 2 * DELAY_S, "the disk was not slow"
    median, longest = statistics.median(reads), max(reads)
    print(f"{len(reads)} reads beside {len(contents)} pushes that took {took:.1f} s, {at_the_end} of them meanwhile:")
    print(f"median {median * 1e3:.1f} ms, longest {longest * 1e3:.1f} ms")
    assert median < DELAY_S / 5
    assert longest < DELAY_S


def test_a_disk_that_fails(registry: Registry, faults: Faults, tmp_path: Path) -> None:
    """Nothing is acknowledged that is not there, reads go on, and so do pushes when the disk is well again."""
    faults.set(error=errno.EIO)
    for what, answer in registry.pushes().items():
        assert (what, answer.status) == (what, 500)
        assert "the registry's disk has failed" in error_of(answer)
    registry.assert_reads()
    registry.wait_for_log("error .*: POST .*: the registry's disk has failed")
    faults.end()
    assert registry.append(HALF, len(LARGE)).status == 202
    assert [answer.status for answer in (registry.push(b"1" + LARGE), registry.push(b"another"))] == [201, 201]
    registry.assert_reads()
    assert "nothing is wrong" in ociserver("check", "--content", "--data", tmp_path / "data")
