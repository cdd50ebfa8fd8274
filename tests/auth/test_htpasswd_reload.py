"""A file with users that changes: new users are seen, and a broken file locks nobody out and lets nobody in."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ociserver.auth.htpasswd import MAX_FILE_SIZE, HtpasswdFile
from tests.auth.clocks import Clock
from tests.auth.hashes import BCRYPT, REFUSED

NOBODY = 65534

OLD, NEW = (f"alice:{text}\n" for _, text in BCRYPT[:2])


def later() -> int:
    """A time at which all changes lie so far back that their time stamps can be trusted."""
    return time.time_ns() + 10_000_000_000


class Opened:
    """A loaded file, with a clock."""

    def __init__(self, path: Path, text: str = OLD, wall_ns: Callable[[], int] = later) -> None:
        self.path = path
        if text:
            path.write_text(text)
        self.clock = Clock()
        self.file = HtpasswdFile(path, check_every_s=1.0, clock=self.clock, wall_ns=wall_ns)
        self.file.load()

    def refreshed(self) -> bool:
        self.clock.now += 1.0
        return self.file.refresh()

    def knows(self, text: str) -> bool:
        hashed = self.file.snapshot.hash_of("alice")
        return hashed is not None and f"alice:{hashed.text}\n" == text


@pytest.fixture
def opened(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Opened:
    caplog.set_level(logging.DEBUG)
    return Opened(tmp_path / "users")


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def replace(path: Path, text: str) -> None:
    """As an editor saves a file: a new one takes its name."""
    other = path.with_name("other")
    other.write_text(text)
    other.rename(path)


def test_a_rewritten_file(opened: Opened) -> None:
    assert not opened.refreshed()
    opened.path.write_text(NEW)
    assert opened.refreshed()
    assert opened.knows(NEW)
    assert not opened.refreshed()


def test_a_replaced_file(opened: Opened) -> None:
    replace(opened.path, NEW)
    assert opened.refreshed()
    assert opened.knows(NEW)


def test_users_that_stay_the_same_are_no_change(opened: Opened) -> None:
    before = opened.file.snapshot
    replace(opened.path, f"# comment\n{OLD}")
    assert not opened.refreshed()
    assert opened.file.snapshot is before, "a remembered sign-in stays valid"


def test_a_volume_of_kubernetes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # kubelet writes a new folder, and renames a link to it over the old link. The mounted path itself stays.
    for name, text in (("..2026_1", OLD), ("..2026_2", NEW)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "users").write_text(text)
    (tmp_path / "..data").symlink_to("..2026_1")
    (tmp_path / "users").symlink_to("..data/users")
    opened = Opened(tmp_path / "users", "")
    assert opened.knows(OLD)
    (tmp_path / "..data_tmp").symlink_to("..2026_2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert opened.refreshed()
    assert opened.knows(NEW)
    assert not errors(caplog)


def test_the_file_is_looked_at_no_more_often_than_said(opened: Opened) -> None:
    opened.path.write_text(NEW)
    opened.clock.now += 0.9
    assert not opened.file.refresh()
    assert opened.knows(OLD)
    opened.clock.now += 0.1
    assert opened.file.refresh()


def spoil(path: Path, how: str) -> None:
    """Make a file wrong in one of several ways."""
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_text("")
    elif how == "a folder":
        path.unlink()
        path.mkdir()
    elif how == "a pipe":
        path.unlink()
        os.mkfifo(path)
    elif how == "too large":
        path.write_text(OLD + "#" * MAX_FILE_SIZE)
    elif how == "not UTF-8":
        path.write_bytes(OLD.encode() + b"\n\xff:x\n")
    else:
        path.write_text(f"alice:{how}\n")


SPOILED = [
    ("missing", "No such file"),
    ("empty", "no users"),
    ("a folder", "regular file"),
    ("a pipe", "regular file"),
    ("too large", "larger than"),
    ("not UTF-8", "line 3: the text is not UTF-8"),
    *((text, f"line 1: .*{kind}") for text, kind in REFUSED),
]


@pytest.mark.parametrize("how,reason", SPOILED)
def test_a_file_that_becomes_wrong_keeps_the_users_and_is_reported_once(
    opened: Opened, caplog: pytest.LogCaptureFixture, how: str, reason: str
) -> None:
    spoil(opened.path, how)
    descriptors = len(os.listdir("/dev/fd"))
    for _ in range(3):
        assert not opened.refreshed()
        assert opened.knows(OLD)
    assert len(os.listdir("/dev/fd")) == descriptors
    (said,) = caplog.records
    assert (said.name, said.levelname) == ("ociserver.auth", "ERROR")
    assert said.getMessage().startswith(f"{opened.path}: ")
    assert said.getMessage().endswith(". The users stay as they were.")
    caplog.clear()
    # And in order again.
    if opened.path.is_dir():
        opened.path.rmdir()
    replace(opened.path, NEW)
    assert opened.refreshed()
    assert opened.knows(NEW)
    assert not errors(caplog)


@pytest.mark.parametrize("how,reason", SPOILED)
def test_a_file_that_is_wrong_at_the_start(tmp_path: Path, how: str, reason: str) -> None:
    path = tmp_path / "users"
    path.write_text(OLD)
    spoil(path, how)
    file = HtpasswdFile(path)
    with pytest.raises(ValueError, match=reason) as refused:
        file.load()
    assert str(refused.value).startswith(f"{path}: ")
    with pytest.raises(RuntimeError):
        file.snapshot  # noqa: B018 - it must not be an empty list of users


def test_each_new_mistake_is_reported(opened: Opened, caplog: pytest.LogCaptureFixture) -> None:
    for count, text in enumerate(("", "alice\n", "alice:secretword\n"), 1):
        opened.path.write_text(text)
        assert not opened.refreshed()
        assert len(errors(caplog)) == count
    opened.path.unlink()
    opened.refreshed()
    opened.path.write_text(OLD)
    opened.refreshed()
    opened.path.unlink()
    opened.refreshed()
    assert len(errors(caplog)) == 5
    assert "secretword" not in caplog.text


@contextmanager
def without_root() -> Iterator[None]:
    """Root could read every file."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_file_without_permission(opened: Opened, caplog: pytest.LogCaptureFixture) -> None:
    opened.path.chmod(0)
    with without_root():
        assert not opened.refreshed()
        assert not opened.refreshed()
    assert ["Permission denied" in error for error in errors(caplog)] == [True]


def test_the_mark_that_windows_writes(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_bytes(b"\xef\xbb\xbf" + OLD.replace("\n", "\r\n").encode())
    assert Opened(path, "").knows(OLD)


def test_an_error_of_the_moment(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    replace(opened.path, NEW)

    def fail(*args: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", fail)
        assert not opened.refreshed()
    assert opened.refreshed(), "although the file has not changed since"
    assert opened.knows(NEW)


def test_a_mistake_that_was_just_made_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # Its time stamps cannot be trusted yet, so the file is read again each time.
    opened = Opened(tmp_path / "users", wall_ns=time.time_ns)
    opened.path.write_text("alice:x\n")
    for _ in range(3):
        assert not opened.refreshed()
    assert len(errors(caplog)) == 1


def test_two_changes_within_the_resolution_of_time_stamps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A file system as FAT, whose clock has steps of 2 s. OLD and NEW have the same size.
    assert len(OLD) == len(NEW)
    real = {name: getattr(os, name) for name in ("stat", "fstat")}

    def coarse(status: os.stat_result) -> os.stat_result:
        stamps = {
            name: getattr(status, name) // 2_000_000_000 * 2_000_000_000 for name in ("st_mtime_ns", "st_ctime_ns")
        }
        return os.stat_result(tuple(status), stamps)

    monkeypatch.setattr(os, "stat", lambda *args, **named: coarse(real["stat"](*args, **named)))
    monkeypatch.setattr(os, "fstat", lambda descriptor: coarse(real["fstat"](descriptor)))
    opened = Opened(tmp_path / "users", wall_ns=time.time_ns)
    for text in (NEW, OLD) * 5:
        opened.path.write_text(text)
        assert opened.refreshed()
        assert opened.knows(text)


def test_a_file_that_is_written_while_it_is_read(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    # A writer that is not done yet when the file is read, and is done before the second look at its state.
    whole = f"{NEW}bob:{BCRYPT[2][1]}\n"
    opened.path.write_text("")
    real, texts = os.fstat, [NEW, whole]

    def fstat(descriptor: int) -> Any:
        status: Any = real(descriptor)
        if texts:
            opened.path.write_text(texts.pop(0))
            return status if texts else real(descriptor)
        return status

    monkeypatch.setattr(os, "fstat", fstat)
    assert opened.refreshed()
    assert opened.file.snapshot.users == {"alice", "bob"}


def test_a_file_that_changes_all_the_time(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, count = os.fstat, iter(range(1000))

    def fstat(descriptor: int) -> Any:
        opened.path.write_text(NEW + "#" * next(count))
        return real(descriptor)

    opened.path.write_text(NEW)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", fstat)
        assert not opened.refreshed()
    assert opened.knows(OLD)
    assert ["changes while it is read" in error for error in errors(caplog)] == [True]
    assert opened.refreshed(), "the next look tries again"
    assert opened.knows(NEW)
