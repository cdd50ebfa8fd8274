"""Signs users in with the passwords of a file."""

from __future__ import annotations

import asyncio
import functools
import hmac
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ociserver.auth.hashing import Hashing
from ociserver.auth.htpasswd import MAX_NAME_SIZE, HtpasswdFile
from ociserver.auth.passwords import MAX_PASSWORD_SIZE, PasswordHash
from ociserver.auth.throttle import Throttle
from ociserver.lru import LRU
from ociserver.single_flight import SingleFlight

__all__ = ["MAX_REMEMBERED", "REMEMBER_S", "PasswordSignIn"]

REMEMBER_S: Final = 60.0
"""Seconds for which a password that was right is not hashed again. A client that sends it with each request would
otherwise wait for the hash each time."""

MAX_REMEMBERED: Final = 4096
"""Sign-ins that are remembered, some 150 bytes each."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A user with a password, to check against a hash.

    Args:
        secret: the bytes of the password.
        against: the hash of the user; for an unknown user another one, which takes as long.
        is_known: whether it is the user's own hash.
        key: stands for the user, the password and the hash.
    """

    secret: bytes = field(repr=False)
    against: PasswordHash
    is_known: bool
    key: bytes = field(repr=False)


class PasswordSignIn:
    """Checks passwords. For the event loop.

    The answer for an unknown user takes the same steps as that for a wrong password: the password is checked against a
    hash with the parameters of the most expensive one of the file. A known user is checked against the own hash only.
    So if the hashes of a file have different parameters, the time of an answer tells apart a user with a cheaper hash
    from one who does not exist. If all have the same ones, it tells nothing. Make all lines with the same command.

    No password is kept. What is remembered of a right one, and of one that is being checked, is an HMAC of it with a
    random key of this process. The HMAC covers the hash of the file too, so a changed hash ends what is remembered.

    Args:
        file: the users, loaded.
        hashing: the threads that check passwords.
        throttle: slows down guessing.
        remember_s: seconds for which a right password is not checked again, and the same wrong one is neither checked
            nor counted again; 0: never.
        max_remembered: right passwords, and wrong ones, that are remembered, the most recently used ones.
        clock: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        file: HtpasswdFile,
        hashing: Hashing,
        throttle: Throttle,
        *,
        remember_s: float = REMEMBER_S,
        max_remembered: int = MAX_REMEMBERED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._hashing = hashing
        self._throttle = throttle
        self._remember_s = remember_s
        self._clock = clock
        self._process_key = os.urandom(32)
        self._right_until: LRU[bytes, float] = LRU(max_remembered)
        self._wrong_until: LRU[bytes, float] = LRU(max_remembered)
        self._checks: SingleFlight[bytes, bool] = SingleFlight(own_context=True)

    async def verify(self, user: str, password: str, client: str) -> bool:
        """Whether the file has this user with this password.

        Args:
            user: the name that the client sent.
            password: what the client sent. Bytes that are not UTF-8 are expected as `surrogateescape` decodes them.
            client: address of the client; "" if unknown.

        Raises:
            OCIError: TOOMANYREQUESTS: too many sign-ins have failed, or too many run at the same time.
        """
        # Before what is remembered, which would otherwise answer any number of guesses.
        self._throttle.check(user, client)
        self._file.refresh()
        attempt = self._attempt(user, password)
        if attempt is None:
            self._throttle.failed(user, client)
            return False
        now = self._clock()
        if now < (self._wrong_until.get(attempt.key) or 0.0):
            # The same mistake again, as by a tool that retries, tells a guesser nothing: it is not counted again.
            return False
        if now < (self._right_until.get(attempt.key) or 0.0):
            self._throttle.succeeded(user, client)
            return True
        try:
            is_right = await self._check(user, attempt)
        except asyncio.CancelledError:
            # A client that does not wait for the answer has still made the server compute.
            self._throttle.failed(user, client)
            raise
        if is_right:
            self._throttle.succeeded(user, client)
        else:
            self._throttle.failed(user, client)
        (self._right_until if is_right else self._wrong_until).put(attempt.key, now + self._remember_s)
        return is_right

    async def _check(self, user: str, attempt: _Attempt) -> bool:
        check = functools.partial(attempt.against.verify, attempt.secret)
        matches = await self._checks.do(attempt.key, lambda: self._hashing.run(check))
        # Not if the user is unknown, or was changed meanwhile.
        return matches and attempt.is_known and self._file.snapshot.hash_of(user) == attempt.against

    def _attempt(self, user: str, password: str) -> _Attempt | None:
        """None: nobody can have this name or this password."""
        secret, name = _encoded(password), _encoded(user)
        if secret is None or name is None or len(user) > MAX_NAME_SIZE:
            return None
        snapshot = self._file.snapshot
        stored = snapshot.hash_of(user)
        against = stored or snapshot.dummy
        return _Attempt(secret, against, stored is not None, self._key(name, secret, against.text.encode()))

    def _key(self, *parts: bytes) -> bytes:
        # With the length of each part: "ab" and "c" differ from "a" and "bc".
        message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return hmac.digest(self._process_key, message, "sha256")


def _encoded(text: str) -> bytes | None:
    """The bytes that a client sent. None: no password can have them, whatever the user, so nothing is hashed.

    It decides before the user is looked up: bcrypt refuses a NUL byte at once and argon2id does not, which would tell
    who exists.
    """
    try:
        content = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return None
    return None if len(content) > MAX_PASSWORD_SIZE or b"\0" in content else content
