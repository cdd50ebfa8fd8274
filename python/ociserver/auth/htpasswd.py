"""Users and their passwords in a file, as Apache's `htpasswd -B` writes it: a line `user:hash` for each."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ociserver.auth.passwords import PasswordHash, dummy_like, parse_hash
from ociserver.auth.watched_file import CHECK_EVERY_S, WatchedFile

__all__ = ["MAX_FILE_SIZE", "MAX_NAME_SIZE", "MAX_USERS", "Htpasswd", "HtpasswdFile", "check_name"]

MAX_FILE_SIZE: Final = 4 * 1024 * 1024
"""Bytes of a file: `MAX_USERS` with long names. A reload reads all of it between two requests."""

MAX_USERS: Final = 10_000
"""Users of a file. To parse so many takes some 50 ms, during which no request is answered."""

MAX_NAME_SIZE: Final = 255
"""Characters of a user's name, as in Apache's `htpasswd`."""

_log = logging.getLogger("ociserver.auth")


def check_name(user: str) -> None:
    """Check that a user can have this name.

    Raises:
        ValueError: it cannot be written to the file, or be sent by clients (RFC 7617, section 2).
    """
    if not user:
        raise ValueError("the name of the user is empty")
    if len(user) > MAX_NAME_SIZE:
        raise ValueError(f"the name of the user has more than {MAX_NAME_SIZE} characters")
    if ":" in user:
        raise ValueError("the name of the user has a colon")
    if not user.isprintable():
        raise ValueError("the name of the user has characters that cannot be printed")
    if user != user.strip() or user.startswith("#"):
        raise ValueError("the name of the user begins or ends with a space, or begins with #")


@dataclass(frozen=True, slots=True)
class Htpasswd:
    """The users of a file at one moment. Two are equal if they have the same users with the same hashes.

    Args:
        hashes: by the name of the user; not empty. They are not part of `repr`.
        dummy: a hash with the parameters of the most expensive one, to check the passwords of unknown users against.
    """

    hashes: Mapping[str, PasswordHash] = field(repr=False)
    dummy: PasswordHash = field(compare=False)

    @classmethod
    def parse(cls, text: str) -> Htpasswd:
        """Parse lines `user:hash`. Empty lines and lines that begin with `#` are ignored.

        Raises:
            ValueError: a line is wrong, or there are no users, or too many. The message names the line, and contains
                nothing of it but the name of a user who is there twice.
            ImportError: the package for a kind of hash is not installed.
        """
        hashes: dict[str, PasswordHash] = {}
        lines: dict[str, int] = {}
        for number, line in enumerate(text.split("\n"), 1):
            stripped = line.strip()
            if not stripped or stripped.startswith("#"):
                continue
            user, colon, hashed = stripped.partition(":")
            try:
                if not colon:
                    raise ValueError("there is no colon; write user:hash")
                check_name(user)
                if user in lines:
                    raise ValueError(f"the user {user!r} is in line {lines[user]} too")
                if len(lines) == MAX_USERS:
                    raise ValueError(f"there are more than {MAX_USERS} users")
                hashes[user] = parse_hash(hashed)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
            lines[user] = number
        if not hashes:
            raise ValueError("there are no users. Add a line with `ociserver auth hash USER`.")
        return cls(hashes, dummy_like(max(hashes.values(), key=lambda one: one.relative_cost)))

    @property
    def users(self) -> frozenset[str]:
        """The names of all users."""
        return frozenset(self.hashes)

    def hash_of(self, user: str) -> PasswordHash | None:
        """The hash of a user's password. None: there is no such user."""
        return self.hashes.get(user)


class HtpasswdFile:
    """The users of a file, which is read again when it changes. For the event loop.

    Args:
        path: of the file. It may be, or go through, a symbolic link that is replaced, as in volumes of Kubernetes.
        check_every_s: seconds between two looks at the file.
        clock: seconds of a clock that never goes back.
        wall_ns: nanoseconds of the clock of the file system.
    """

    def __init__(
        self,
        path: Path,
        *,
        check_every_s: float = CHECK_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.path = path
        self._file = WatchedFile(
            path, max_size=MAX_FILE_SIZE, check_every_s=check_every_s, clock=clock, wall_ns=wall_ns
        )
        self._snapshot: Htpasswd | None = None

    @property
    def snapshot(self) -> Htpasswd:
        """The users as they were last read.

        Raises:
            RuntimeError: `load` was never called.
        """
        if self._snapshot is None:
            raise RuntimeError(f"{self.path} was not loaded")
        return self._snapshot

    def load(self) -> None:
        """Read the file, at the start of the server.

        Raises:
            ValueError: the file is missing, cannot be read, is empty or wrong. The message names it.
            ImportError: the package for a kind of hash is not installed.
        """
        try:
            self._snapshot = _parse(self._file.read())
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.path}: {_text(error)}") from error

    def refresh(self) -> bool:
        """Read the file again if it has changed. Whether the users have changed.

        If the file is missing or wrong, the users stay as they were, and the log has one error until the file changes.
        """
        try:
            content = self._file.changed()
            if content is None:
                return False
            snapshot = _parse(content)
        except (OSError, ValueError, ImportError) as error:
            _log.error("%s: %s The users stay as they were.", self.path, _text(error).rstrip(".") + ".")
            return False
        if snapshot == self._snapshot:
            return False
        self._snapshot = snapshot
        _log.info("%s: read again, %d users", self.path, len(snapshot.hashes))
        return True


def _parse(content: bytes) -> Htpasswd:
    """Users of the bytes of a file.

    Raises:
        ValueError: they are wrong.
        ImportError: the package for a kind of hash is not installed.
    """
    try:
        text = content.decode("utf-8-sig")  # editors of Windows write a mark at the beginning
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {number}: the text is not UTF-8") from None
    return Htpasswd.parse(text)


def _text(error: Exception) -> str:
    """What is wrong, without the path, which stands before it."""
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
