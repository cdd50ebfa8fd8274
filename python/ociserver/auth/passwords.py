"""Hashes of passwords: which kinds are accepted, and how new ones are made."""

from __future__ import annotations

import re
from typing import Final, Literal

from ociserver.auth.argon2_hashes import Argon2idHash
from ociserver.auth.bcrypt_hashes import BcryptHash

__all__ = ["MAX_PASSWORD_SIZE", "Kind", "PasswordHash", "dummy_like", "hash_password", "parse_hash"]

PasswordHash = BcryptHash | Argon2idHash
"""A hash that was read. `verify(password: bytes) -> bool` blocks; `relative_cost` compares the CPU time of two hashes;
`text` is the hash itself."""

Kind = Literal["argon2id", "bcrypt"]

MAX_PASSWORD_SIZE: Final = 1024
"""Bytes of the longest password. Nobody has a longer one, and a client must not choose how long a hash takes."""

_HINT: Final = "Make a new line with `ociserver auth hash USER`"

# Prefixes of hashes that a graphics card guesses by millions a second, or that no library here can check. A longer
# prefix stands before a shorter one.
_REFUSED: Final = {
    "$apr1$": "an MD5 hash of Apache ($apr1$)",
    "$1$": "an MD5 hash ($1$)",
    "$5$": "a SHA-256 hash of crypt ($5$)",
    "$6$": "a SHA-512 hash of crypt ($6$)",
    "{SHA}": "an unsalted SHA-1 hash ({SHA})",
    "{SSHA": "a salted SHA hash of LDAP ({SSHA})",
    "{PLAIN": "plain text ({PLAIN})",
    "$2x$": "a bcrypt hash of a faulty implementation ($2x$)",
    "$2$": "a bcrypt hash of the first version ($2$)",
    "$argon2i$": "an argon2i hash",
    "$argon2d$": "an argon2d hash",
    "$scrypt$": "an scrypt hash",
    "$7$": "an scrypt hash ($7$)",
    "$y$": "a yescrypt hash ($y$)",
    "$gy$": "a yescrypt hash ($gy$)",
    "$pbkdf2": "a PBKDF2 hash",
}

_CRYPT: Final = re.compile(r"[./A-Za-z0-9]{13}", re.ASCII)


def parse_hash(text: str) -> PasswordHash:
    """Parse a bcrypt or an argon2id hash.

    Raises:
        ValueError: it is of another kind, malformed, or too expensive. The message names the kind and what to do, and
            never contains the hash, which may be a password as plain text.
        ImportError: the package for this kind is not installed. The message says how to install it.
    """
    try:
        if text.startswith(("$2a$", "$2b$", "$2y$")):
            return BcryptHash.parse(text)
        if text.startswith("$argon2id$"):
            return Argon2idHash.parse(text)
    except ValueError as error:
        raise ValueError(f"{error}. {_HINT}.") from None
    raise ValueError(f"the password is {_kind_of(text)}, and only bcrypt and argon2id hashes are accepted. {_HINT}.")


def hash_password(password: bytes, kind: Kind = "argon2id") -> str:
    """Hash a password with a random salt. Blocks for some 50 ms.

    argon2id takes 19 MiB and 2 passes, bcrypt has cost 10; both as OWASP recommends.

    Raises:
        ValueError: the password is empty, too long, or has control characters, which Basic authentication cannot send
            (RFC 7617, section 2).
        ImportError: the package for this kind is not installed. The message says how to install it.
    """
    if not password:
        raise ValueError("the password is empty")
    if len(password) > MAX_PASSWORD_SIZE:
        raise ValueError(f"the password has {len(password)} bytes; at most {MAX_PASSWORD_SIZE} are allowed")
    if any(byte < 0x20 or byte == 0x7F for byte in password):
        raise ValueError("the password has a control character, which clients cannot send")
    if kind == "bcrypt":
        return BcryptHash.of(password).text
    return Argon2idHash.of(password).text


def dummy_like(like: PasswordHash) -> PasswordHash:
    """A hash with the same parameters and random content: checking a password against it takes as long."""
    return like.dummy()


def _kind_of(text: str) -> str:
    if not text:
        return "missing"
    for prefix, kind in _REFUSED.items():
        if text.startswith(prefix):
            return kind
    if text[0] in "${":
        return "a hash of an unknown kind"
    if _CRYPT.fullmatch(text):
        return "plain text, or a DES hash of crypt"
    return "plain text"
