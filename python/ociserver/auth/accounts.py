"""Users who sign in with a name and a password."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final, Protocol

from ociserver.auth.hashing import Hashing
from ociserver.auth.htpasswd import Htpasswd, HtpasswdFile
from ociserver.auth.identity import Identity
from ociserver.auth.signin import PasswordSignIn
from ociserver.auth.throttle import Throttle

__all__ = ["Accounts", "HtpasswdAccounts"]

_STAMP_LENGTH: Final = 24
"""Hexadecimal digits of a stamp."""


class Accounts(Protocol):
    """What a source of users and passwords does."""

    @property
    def via(self) -> str:
        """`Identity.via` of its users."""

    def version(self) -> object:
        """An object that is another one after the accounts have changed. It may look at a file, and must be quick."""

    def stamp(self, user: str) -> str | None:
        """A fingerprint of an account, which changes with its password. None: there is no such user now.

        A token is valid only as long as the stamp of its user stays the same.
        """

    async def sign_in(self, user: str, password: str, client: str) -> Identity | None:
        """The identity of a user; None if the name or the password is wrong.

        Args:
            user: the name.
            password: the password.
            client: address of the client, to slow down guessing.

        Raises:
            OCIError: TOOMANYREQUESTS with Retry-After, if the client has to wait.
        """

    async def aclose(self) -> None:
        """Refuse the sign-ins that wait. Later ones are served again."""


class HtpasswdAccounts:
    """The users of an htpasswd file, which is read again when it changes.

    Args:
        path: of the file.
        check_every_s: seconds between two looks at the file.
        throttle: slows down guessing.
        hashing: the threads that check passwords.

    Raises:
        ValueError: the file is missing, empty or wrong.
        ImportError: the packages for password hashes are not installed.
    """

    via = "htpasswd"

    def __init__(self, path: Path, check_every_s: float, throttle: Throttle, hashing: Hashing) -> None:
        self._file = HtpasswdFile(path, check_every_s=check_every_s)
        self._file.load()
        self._hashing = hashing
        self._sign_in = PasswordSignIn(self._file, hashing, throttle)

    def version(self) -> Htpasswd:
        self._file.refresh()
        return self._file.snapshot

    def stamp(self, user: str) -> str | None:
        stored = self._file.snapshot.hash_of(user)
        # It needs no key: the random salt of the hash is in it, so the stamp does not help to guess the password.
        return None if stored is None else hashlib.sha256(stored.text.encode()).hexdigest()[:_STAMP_LENGTH]

    async def sign_in(self, user: str, password: str, client: str) -> Identity | None:
        return Identity(user, via=self.via) if await self._sign_in.verify(user, password, client) else None

    async def aclose(self) -> None:
        await self._hashing.close()
