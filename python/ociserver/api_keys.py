"""API keys: what a registry keeps of a key, and the form of its secret."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field
from typing import Final

__all__ = ["KEY_NAME", "SECRET_PREFIX", "ApiKey", "check_key_name", "hash_of", "is_secret", "new_secret"]

SECRET_PREFIX: Final = "ociserver_"  # noqa: S105 - what all secrets begin with
"""The beginning of all secrets, for programs that search for secrets in code and logs."""

KEY_NAME: Final = r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?"
"""Names of keys. Without a colon, because they are user names for Basic authentication."""

SECRET_BYTES: Final = 32
"""Random bytes of a secret. Nobody can guess it, so its SHA-256 is as good as a slow hash."""

_DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_LENGTH: Final = 43  # 62**43 > 256**32
_CHECK_LENGTH: Final = 6  # 62**6 > 2**32
_SECRET: Final = re.compile(rf"{SECRET_PREFIX}[0-9A-Za-z]{{{_RANDOM_LENGTH + _CHECK_LENGTH}}}")
_NAME: Final = re.compile(KEY_NAME)
_STAMP_LENGTH: Final = 24


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What a registry keeps of a key. Two are equal if they give the same rights to the same secret.

    Args:
        name: of the key.
        hash: SHA-256 of its secret, in hexadecimal.
        repositories: patterns of the repositories that it is for.
        allow: the actions, as in a rule.
        tags: patterns of the tags that it is limited to. None: no limit.
        expires: time in seconds since the epoch from which it is not valid. None: never.
        created: when it was made, in seconds since the epoch.
        used: a time at which it was used, not more than some minutes before the last use. None: never.
    """

    name: str
    hash: str = field(repr=False)
    repositories: tuple[str, ...]
    allow: tuple[str, ...]
    tags: tuple[str, ...] | None = None
    expires: int | None = None
    created: int = field(default=0, compare=False)
    used: int | None = field(default=None, compare=False)

    @property
    def stamp(self) -> str:
        """A fingerprint, for tokens: with another secret, other rights or another expiry, they end."""
        facts = [self.name, self.hash, self.repositories, self.allow, self.tags, self.expires]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:_STAMP_LENGTH]


def check_key_name(name: str) -> str:
    """The same name, if a key can have it.

    Raises:
        ValueError: it cannot. The message does not repeat it.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            "the name of a key has 1 to 63 lower-case letters, digits, and - _ . between them, such as ci-app"
        )
    return name


def new_secret() -> str:
    """The secret of a new key."""
    number = int.from_bytes(secrets.token_bytes(SECRET_BYTES))
    random = SECRET_PREFIX + _base62(number, _RANDOM_LENGTH)
    return random + _check_of(random)


def is_secret(text: str) -> bool:
    """Whether a text has the form of a secret: its beginning, its length, and the checksum at its end."""
    if not _SECRET.fullmatch(text):
        return False
    return text[-_CHECK_LENGTH:] == _check_of(text[:-_CHECK_LENGTH])


def hash_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _check_of(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), _CHECK_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
