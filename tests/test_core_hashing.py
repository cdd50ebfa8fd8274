"""Hashes and files of the compiled module, and their threads."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ociserver._core import Appender, BackgroundHasher, Hasher, digest_of, hash_range, read_at, read_cached

ALGORITHMS = ["sha256", "sha384", "sha512"]


def expected(algorithm: str, data: bytes) -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


@settings(deadline=None)  # A busy machine is not an error.
@given(st.sampled_from(ALGORITHMS), st.lists(st.binary(max_size=200), max_size=5))
def test_hasher_is_hashlib(algorithm: str, chunks: list[bytes]) -> None:
    hasher = Hasher(algorithm)
    for chunk in chunks:
        hasher.update(chunk)
        hasher = Hasher.resume(hasher.save())
    data = b"".join(chunks)
    assert hasher.digest() == hasher.digest() == digest_of(data, algorithm) == expected(algorithm, data)
    assert (hasher.algorithm, hasher.length) == (algorithm, len(data))


def test_hasher_defaults_to_sha256() -> None:
    assert Hasher().digest() == digest_of(b"") == expected("sha256", b"")


def test_bad_algorithm() -> None:
    with pytest.raises(ValueError, match="sha256, sha384, sha512"):
        Hasher("md5")
    with pytest.raises(ValueError, match="sha256, sha384, sha512"):
        digest_of(b"", "SHA256")


@pytest.mark.parametrize("state", [b"", b"\x01", b"\x02" + Hasher().save()[1:], Hasher().save() + b"x", b"\xff" * 42])
def test_bad_state(state: bytes) -> None:
    with pytest.raises(ValueError, match="not a saved state of a hash"):
        Hasher.resume(state)


@pytest.mark.parametrize("size", [100, 4095, 4096, 1 << 20])
def test_hasher_is_shared_between_threads(size: int) -> None:
    hasher, data = Hasher(), b"\0" * size

    # All updates are the same, so their order does not matter; none may be lost or torn.
    def work() -> None:
        for _ in range(10):
            hasher.update(data)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hasher.length == 40 * size
    assert hasher.digest() == expected("sha256", bytes(40 * size))


def left(worker: Appender | BackgroundHasher, backlog: int) -> None:
    """Wait until the backlog is at most `backlog` bytes."""
    reached = threading.Event()
    worker.when_left(backlog, reached.set)
    assert reached.wait(60)
    assert worker.left() <= backlog


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("sizes", [(), (0,), (100_000,), (1, 100_000, 1, 65_536, 3_000_000), (70_000,) * 50])
def test_background_hasher_is_hashlib(algorithm: str, sizes: tuple[int, ...]) -> None:
    hasher, pieces = BackgroundHasher(algorithm), [os.urandom(size) for size in sizes]
    for piece in pieces:
        # The backlog is at most the size of all pieces.
        assert hasher.add(piece) <= sum(sizes)
    left(hasher, 0)
    assert hasher.digest() == expected(algorithm, b"".join(pieces))


def test_background_hasher_counts_its_backlog() -> None:
    hasher, piece = BackgroundHasher(), bytes(50_000_000)
    assert hasher.add(b"small") == 0
    assert hasher.add(piece) == len(piece)
    with pytest.raises(RuntimeError, match="some bytes are not hashed yet"):
        hasher.digest()
    other = threading.Event()
    hasher.when_left(0, other.set)
    left(hasher, 0)
    assert hasher.digest() == expected("sha256", b"small" + piece)
    assert other.wait(60)
    with pytest.raises(ValueError, match="sha256, sha384, sha512"):
        BackgroundHasher("md5")


def test_background_hashers_share_their_threads() -> None:
    piece = os.urandom(300_000)
    hashers = [BackgroundHasher() for _ in range(40)]
    for _ in range(5):
        for hasher in hashers:
            hasher.add(piece)
    for hasher in hashers:
        left(hasher, 0)
    assert {hasher.digest() for hasher in hashers} == {expected("sha256", piece * 5)}


def test_files(tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb") as file:
        assert read_at(file.fileno(), 10, 20) == data[10:30]
        assert read_at(file.fileno(), len(data) - 5, 20) == data[-5:]
        # The file is in the page cache, because it was just written. None if the system cannot tell.
        assert read_cached(file.fileno(), 10, 20) in (data[10:30], None)
        assert read_cached(file.fileno(), len(data) - 5, 20) in (data[-5:], None)
        assert read_cached(file.fileno(), len(data), 20) in (b"", None)
        hasher = Hasher("sha512")
        hash_range(file.fileno(), 1, 200_000, hasher)
        assert hasher.digest() == expected("sha512", data[1:200_001])
        with pytest.raises(OSError, match=r"."):
            hash_range(file.fileno(), 0, len(data) + 1, Hasher())


def test_file_errors_have_a_number() -> None:
    for fd in (-1, 2**31 - 1):
        with pytest.raises(OSError, match=r".") as caught:
            read_at(fd, 0, 1)
        assert caught.value.errno == errno.EBADF
        if sys.platform == "linux":
            with pytest.raises(OSError, match=r".") as caught:
                read_cached(fd, 0, 1)
            assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize("sizes", [(), (0,), (1,), (100_000, 1, 3_000_000), (70_000,) * 50])
def test_appender_writes_and_hashes(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    before, pieces = os.urandom(1000), [os.urandom(size) for size in sizes]
    content = before + b"".join(pieces)
    (tmp_path / "file").write_bytes(before)
    known = Hasher()
    known.update(before)
    with (tmp_path / "file").open("r+b") as file:
        hasher = BackgroundHasher.resume(known)
        appender = Appender(file.fileno(), len(before), hasher, early_writeback=True)
        for piece in pieces:
            backlog = appender.add(piece)
            assert backlog is not None
            assert backlog <= sum(sizes)
        left(appender, 0)
        appender.check()
        assert (appender.size(), hasher.length(), hasher.hasher().length) == (len(content), len(content), len(content))
        assert hasher.digest() == expected("sha256", content)
    assert (tmp_path / "file").read_bytes() == content
    assert known.length == len(before), "the appender has a copy of the hash"


def test_appender_counts_its_backlog(tmp_path: Path) -> None:
    piece = bytes(50_000_000)
    with (tmp_path / "file").open("wb") as file:
        hasher = BackgroundHasher()
        appender = Appender(file.fileno(), 0, hasher, early_writeback=False)
        assert appender.add(piece) == len(piece)
        assert appender.left() == len(piece)
        assert (hasher.hasher().length, hasher.length()) == (0, len(piece))
        left(appender, 0)
        assert hasher.hasher().length == len(piece)


def test_appender_reports_written_bytes_before_they_are_hashed(tmp_path: Path) -> None:
    content, written = bytes(50_000_000), threading.Event()
    with (tmp_path / "file").open("wb") as file:
        hasher = BackgroundHasher()
        appender = Appender(file.fileno(), 0, hasher, early_writeback=False)
        appender.add(content)
        appender.when_written(written.set)
        assert written.wait(60)
        assert appender.size() == len(content)
        appender.close()
    # The hash continues without a file, and then with the next one.
    with (tmp_path / "file").open("r+b") as file:
        appender = Appender(file.fileno(), len(content), hasher, early_writeback=False)
        appender.add(b"more")
        left(appender, 0)
    assert hasher.digest() == expected("sha256", content + b"more")
    assert (tmp_path / "file").read_bytes() == content + b"more"


def test_a_closed_hash_drops_pieces() -> None:
    hasher = BackgroundHasher()
    for _ in range(100):
        hasher.add(bytes(1_000_000))
    hasher.close()
    assert hasher.add(b"x") in (0, 1_000_000)
    left(hasher, 0)
    assert hasher.length() == hasher.hasher().length < 100_000_000


def test_a_closed_appender_drops_pieces(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        appender = Appender(file.fileno(), 0, BackgroundHasher(), early_writeback=True)
        for _ in range(100):
            appender.add(bytes(1_000_000))
        appender.close()
        assert appender.add(b"x") is None
        left(appender, 0)
        size = appender.size()
    assert size == (tmp_path / "file").stat().st_size < 100_000_000


@pytest.mark.parametrize("size", [1, 1_000_000])
def test_appender_after_an_error(tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (tmp_path / "file").open("rb") as file:
        appender = Appender(file.fileno(), 0, BackgroundHasher(), early_writeback=True)
        appender.add(bytes(size))
        left(appender, 0)
        assert appender.add(bytes(size)) is None
        with pytest.raises(OSError, match=r".") as caught:
            appender.check()
        assert caught.value.errno == errno.EBADF
        appender.check()
        assert (appender.size(), appender.add(b"x")) == (0, None)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_has_its_error_number() -> None:
    with Path("/dev/full").open("wb") as file:
        appender = Appender(file.fileno(), 0, BackgroundHasher(), early_writeback=True)
        appender.add(b"x")
        left(appender, 0)
        with pytest.raises(OSError, match=r".") as caught:
            appender.check()
    assert caught.value.errno == errno.ENOSPC


FORKED = """
import hashlib, os, signal, sys, threading
from ociserver._core import Appender, BackgroundHasher

content = bytes(1 << 20)
wanted = "sha256:" + hashlib.sha256(content).hexdigest()

def hash_twice():
    with open(os.devnull, "wb") as file:
        hasher = BackgroundHasher()
        worker = Appender(file.fileno(), 0, hasher, True)
        done = threading.Event()
        worker.add(content)
        worker.when_left(0, done.set)
        done.wait()
        assert hasher.digest() == wanted

hash_twice()
child = os.fork()
signal.alarm(10)
hash_twice()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_has_its_own_threads() -> None:
    """It has no thread of its parent, so work for those would never be done."""
    command = [sys.executable, "-W", "ignore", "-c", FORKED]
    subprocess.run(command, check=True, timeout=30)
