"""argon2id, the memory-hard hash of RFC 9106, in the text form of its reference implementation."""

from __future__ import annotations

import base64
import binascii
import os
import re
from dataclasses import dataclass, field
from types import ModuleType
from typing import Final

__all__ = ["MAX_LANES", "MAX_MEMORY_KIB", "MAX_WORK_KIB", "Argon2idHash"]

MAX_MEMORY_KIB: Final = 256 * 1024
"""Maximum memory of one verification, in KiB. Each thread that checks passwords takes it at the same time. It is four
times that of the second recommended option of RFC 9106, section 4."""

MAX_WORK_KIB: Final = 1024 * 1024
"""Maximum of memory times passes, in KiB: 1 to 2 s of a core. Without it, a line with little memory could ask for
minutes by the number of passes alone."""

MAX_LANES: Final = 16
"""Maximum number of lanes. Each one is a thread of the system while a password is checked."""

SALT_SIZES: Final = range(8, 65)
"""Bytes of a salt. RFC 9106 requires 8."""

TAG_SIZES: Final = range(16, 129)
"""Bytes of the hash itself. RFC 9106 allows 4, which a guess meets once in 2 ** 32."""

MEMORY_KIB: Final = 19 * 1024
PASSES: Final = 2
LANES: Final = 1
"""Parameters of new hashes: OWASP, Password Storage Cheat Sheet."""

_MILLISECONDS: Final = 1.0 / 1024
"""Time of one pass over one KiB, measured on the machine on which `bcrypt_hashes` was measured."""

# The reference implementation accepts numbers without leading zeros, in this order, and Base64 without padding.
_PATTERN: Final = re.compile(
    r"\$argon2id\$v=19\$m=(?P<memory>[1-9][0-9]{0,9}),t=(?P<passes>[1-9][0-9]{0,9}),p=(?P<lanes>[1-9][0-9]{0,8})"
    r"\$(?P<salt>[A-Za-z0-9+/]{1,512})\$(?P<tag>[A-Za-z0-9+/]{1,512})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Argon2idHash:
    """A password as an argon2id hash.

    Args:
        memory_kib: memory in KiB.
        passes: number of passes over the memory.
        lanes: number of threads.
        salt_size: bytes of the salt.
        tag_size: bytes of the hash itself.
        text: the hash in its usual form. It is not part of `repr`.
    """

    memory_kib: int
    passes: int
    lanes: int
    salt_size: int
    tag_size: int
    text: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Argon2idHash:
        """Parse `$argon2id$v=19$m=19456,t=2,p=1$...`.

        Raises:
            ValueError: the text is not well-formed, or a parameter is out of bounds. The message does not contain the
                salt and the hash.
            ImportError: the package `argon2-cffi` is not installed.
        """
        found = _PATTERN.fullmatch(text)
        if not found:
            raise ValueError("the password is an argon2id hash that is cut off, older than v=19 or malformed")
        memory, passes, lanes = (int(found[name]) for name in ("memory", "passes", "lanes"))
        if lanes > MAX_LANES:
            raise ValueError(f"the password is an argon2id hash with p={lanes}; at most {MAX_LANES} are allowed")
        if not 8 * lanes <= memory <= MAX_MEMORY_KIB:
            raise ValueError(
                f"the password is an argon2id hash with m={memory} (KiB); it must be from {8 * lanes} (8 for each of "
                f"p={lanes}) to {MAX_MEMORY_KIB}"
            )
        if memory * passes > MAX_WORK_KIB:
            raise ValueError(
                f"the password is an argon2id hash with m={memory} and t={passes}; their product must be at most "
                f"{MAX_WORK_KIB}"
            )
        salt, tag = _decoded(found["salt"]), _decoded(found["tag"])
        for name, size, allowed in (("salt", len(salt), SALT_SIZES), ("hash", len(tag), TAG_SIZES)):
            if size not in allowed:
                raise ValueError(
                    f"the password is an argon2id hash whose {name} has {size} bytes; it must have "
                    f"{allowed[0]} to {allowed[-1]}"
                )
        _low_level()
        return cls(memory, passes, lanes, len(salt), len(tag), text)

    @classmethod
    def of(cls, password: bytes) -> Argon2idHash:
        """Hash a password. Blocks for some 40 ms.

        Raises:
            ImportError: the package `argon2-cffi` is not installed.
        """
        argon2 = _low_level()
        salt = os.urandom(16)
        tag: bytes = argon2.hash_secret_raw(password, salt, PASSES, MEMORY_KIB, LANES, 32, argon2.Type.ID)
        return _assembled(MEMORY_KIB, PASSES, LANES, salt, tag)

    @property
    def relative_cost(self) -> float:
        """CPU time of `verify` in relation to other hashes, in milliseconds of an imagined machine."""
        return _MILLISECONDS * self.memory_kib * self.passes

    def verify(self, password: bytes) -> bool:
        """Whether this is the password. Blocks; other threads run meanwhile.

        Raises:
            argon2.exceptions.VerificationError: the memory could not be had.
        """
        argon2 = _low_level()
        from argon2.exceptions import VerifyMismatchError

        try:
            argon2.verify_secret(self.text.encode("ascii"), password, argon2.Type.ID)
        except VerifyMismatchError:
            return False
        return True

    def dummy(self) -> Argon2idHash:
        """A hash with the same parameters that no password matches, as far as anybody knows: all else is random."""
        salt, tag = os.urandom(self.salt_size), os.urandom(self.tag_size)
        return _assembled(self.memory_kib, self.passes, self.lanes, salt, tag)


def _assembled(memory: int, passes: int, lanes: int, salt: bytes, tag: bytes) -> Argon2idHash:
    text = f"$argon2id$v=19$m={memory},t={passes},p={lanes}${_encoded(salt)}${_encoded(tag)}"
    return Argon2idHash(memory, passes, lanes, len(salt), len(tag), text)


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).rstrip(b"=").decode("ascii")


def _decoded(text: str) -> bytes:
    """Bytes of Base64 without padding.

    Raises:
        ValueError: the length is impossible, or bits are set that belong to no byte.
    """
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        content = b""
    if _encoded(content) != text:
        raise ValueError("the password is an argon2id hash with malformed Base64")
    return content


def _low_level() -> ModuleType:
    try:
        from argon2 import low_level  # late: only servers with passwords need it
    except ImportError as error:
        raise ImportError(
            f"argon2id hashes need a package that is not installed ({error}). Install it: pip install 'ociserver[auth]'"
        ) from None
    return low_level
