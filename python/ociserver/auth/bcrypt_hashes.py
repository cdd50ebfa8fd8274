"""bcrypt, as `htpasswd -B` makes it (Provos and Mazieres, "A Future-Adaptable Password Scheme", USENIX 1999)."""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass, field
from types import ModuleType
from typing import Final

__all__ = ["MAX_COST", "MAX_PASSWORD_SIZE", "BcryptHash"]

MAX_PASSWORD_SIZE: Final = 72
"""Bytes of a password that bcrypt uses. `htpasswd` and crypt_blowfish ignore what follows, without a word."""

MAX_COST: Final = 15
"""Maximum cost, the logarithm of the number of rounds. 15 takes 2 to 4 s of a core, and each step doubles the time. The
format goes up to 31, which takes days: one such line would block the threads that check passwords."""

COST: Final = 10
"""The cost of new hashes, the least that OWASP recommends (Password Storage Cheat Sheet)."""

_MILLISECONDS: Final = 0.058
"""Time of one round, measured on the machine on which `argon2_hashes` was measured. Only the ratio matters."""

# The last characters of the salt and of the checksum have 4 and 2 bits that must be zero. bcrypt would never accept a
# password for other ones.
_PATTERN: Final = re.compile(
    r"\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{30}[.CGKOSWaeimquy26]", re.ASCII
)

_STANDARD: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_OWN: Final = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_TO_OWN: Final = bytes.maketrans(_STANDARD, _OWN)


@dataclass(frozen=True, slots=True)
class BcryptHash:
    """A password as a bcrypt hash.

    Args:
        cost: logarithm of the number of rounds.
        text: the hash in its usual form. It is not part of `repr`.
    """

    cost: int
    text: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> BcryptHash:
        """Parse `$2b$10$...`, also with `$2a$` and `$2y$`.

        Raises:
            ValueError: the text is not well-formed, or the cost is out of bounds. The message does not contain it.
            ImportError: the package `bcrypt` is not installed.
        """
        found = _PATTERN.fullmatch(text)
        if not found:
            raise ValueError("the password is a bcrypt hash that is cut off or otherwise malformed")
        cost = int(found["cost"])
        if not 4 <= cost <= MAX_COST:
            raise ValueError(f"the password is a bcrypt hash of cost {cost}; the cost must be from 4 to {MAX_COST}")
        _bcrypt()
        return cls(cost, text)

    @classmethod
    def of(cls, password: bytes) -> BcryptHash:
        """Hash a password. Blocks for some 60 ms.

        Raises:
            ValueError: the password has more than `MAX_PASSWORD_SIZE` bytes, or a NUL byte.
            ImportError: the package `bcrypt` is not installed.
        """
        if len(password) > MAX_PASSWORD_SIZE:
            raise ValueError(
                f"the password has {len(password)} bytes, and bcrypt ignores all after the first {MAX_PASSWORD_SIZE}. "
                "Choose a shorter one, or argon2id"
            )
        if b"\0" in password:
            raise ValueError("the password has a NUL byte, which bcrypt does not accept")
        bcrypt = _bcrypt()
        text: bytes = bcrypt.hashpw(password, bcrypt.gensalt(COST))
        return cls(COST, text.decode("ascii"))

    @property
    def relative_cost(self) -> float:
        """CPU time of `verify` in relation to other hashes, in milliseconds of an imagined machine."""
        return _MILLISECONDS * 2.0**self.cost

    def verify(self, password: bytes) -> bool:
        """Whether this is the password. Blocks; other threads run meanwhile.

        Bytes after the first `MAX_PASSWORD_SIZE` do not count. A password with a NUL byte is wrong: bcrypt repeats the
        password with a NUL between the copies, so that `a` and `a NUL a` have the same hash.
        """
        if b"\0" in password:
            return False
        is_right: bool = _bcrypt().checkpw(password[:MAX_PASSWORD_SIZE], self.text.encode("ascii"))
        return is_right

    def dummy(self) -> BcryptHash:
        """A hash of the same cost that no password matches, as far as anybody knows: salt and checksum are random."""
        salt, checksum = (_encoded(os.urandom(size)) for size in (16, 23))
        return BcryptHash(self.cost, f"$2b${self.cost:02}${salt}{checksum}")


def _encoded(content: bytes) -> str:
    """bcrypt's own Base64: another alphabet, and no padding."""
    return base64.b64encode(content).rstrip(b"=").translate(_TO_OWN).decode("ascii")


def _bcrypt() -> ModuleType:
    try:
        import bcrypt  # late: only servers with passwords need it
    except ImportError as error:
        raise ImportError(
            f"bcrypt hashes need a package that is not installed ({error}). Install it: pip install 'ociserver[auth]'"
        ) from None
    return bcrypt
