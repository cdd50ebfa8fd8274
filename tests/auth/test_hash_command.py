"""`ociserver auth hash`: makes the line of a user."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner, Result

from ociserver.auth.htpasswd import Htpasswd
from ociserver.cli.auth import auth

# A process with a terminal of its own, where `getpass` finds it.
IN_TERMINAL = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); from ociserver.cli.auth import auth; auth()"

QUESTION = re.compile(rb"(Password|confirmation): ")


def invoke(*arguments: str, stdin: str | bytes = "s3cret\n") -> Result:
    return CliRunner().invoke(auth, ["hash", *arguments], input=stdin)


def matches(line: str, user: str, password: bytes) -> bool:
    hashed = Htpasswd.parse(line).hash_of(user)
    return hashed is not None and hashed.verify(password)


@pytest.mark.parametrize("arguments,prefix", [((), "$argon2id$v=19$m=19456,t=2,p=1$"), (("--bcrypt",), "$2b$10$")])
@pytest.mark.parametrize("stdin", ["s3cret\n", "s3cret\r\n", "s3cret", "s3cret\nmore\n"])
def test_a_line_of_stdin(arguments: tuple[str, ...], prefix: str, stdin: str) -> None:
    result = invoke("alice", *arguments, stdin=stdin)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"alice:{prefix}")
    assert result.stdout.count("\n") == 1
    assert matches(result.stdout, "alice", b"s3cret")


def test_a_password_that_is_not_ascii() -> None:
    for password in ("pässword".encode(), "pässword".encode("latin-1"), b" spaces "):
        assert matches(invoke("zoë mac", stdin=password + b"\n").stdout, "zoë mac", password)


@pytest.mark.parametrize(
    "stdin,arguments,reason",
    [
        ("", (), "stdin is empty"),
        ("\n", (), "the password is empty"),
        ("s3cret\0\n", (), "control character"),
        ("s3cret" * 200 + "\n", (), "at most 1024"),
        ("s3cret" * 13 + "\n", ("--bcrypt",), "78 bytes"),
    ],
)
def test_a_password_that_is_refused(stdin: str, arguments: tuple[str, ...], reason: str) -> None:
    result = invoke("alice", *arguments, stdin=stdin)
    assert (result.exit_code, result.stdout) == (1, "")
    assert reason in result.stderr
    assert "s3cret" not in result.stderr


@pytest.mark.parametrize("user", ["", "a:b", "#a", " a", "a\nb"])
def test_a_name_that_is_refused(user: str) -> None:
    result = invoke(user)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "the name of the user" in result.stderr


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "argon2", None)
    result = invoke("alice")
    assert result.exit_code == 1
    assert result.stderr.endswith("pip install 'ociserver[auth]'\n")


def in_terminal(*typed: bytes) -> tuple[int, bytes, bytes]:
    """Exit status, stdout, and all that the terminal shows, if somebody types these lines, each after a question."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", IN_TERMINAL, "hash", "alice", "--bcrypt"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        shown = b""
        for line in typed:
            asked = len(QUESTION.findall(shown))
            while len(QUESTION.findall(shown)) == asked:
                shown += os.read(ours, 1024)
            os.write(ours, line + b"\n")
        assert process.stdout is not None
        stdout = process.stdout.read()
        try:
            while piece := os.read(ours, 1024):
                shown += piece
        except OSError:  # how Linux says that the other end is closed
            pass
    os.close(ours)
    return process.returncode, stdout, shown


def test_a_terminal_asks_twice_and_shows_nothing() -> None:
    status, stdout, shown = in_terminal(b"s3cret", b"s3cret")
    assert status == 0
    assert matches(stdout.decode(), "alice", b"s3cret")
    assert len(QUESTION.findall(shown)) == 2
    assert b"s3cret" not in shown


def test_a_terminal_asks_again_if_the_passwords_differ() -> None:
    status, stdout, shown = in_terminal(b"s3cret", b"s3crte", b"other", b"other")
    assert status == 0
    assert matches(stdout.decode(), "alice", b"other")
    assert b"s3cr" not in shown
