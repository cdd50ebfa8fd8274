"""The secret keys that sign tokens.

The text of a key, in a file or in the environment, is one line. The secret is the UTF-8 bytes of this line, without
whitespace at its ends. It is not decoded, whether it looks like base64, like hex or like neither, so that every
program that has the line has the same key. `openssl rand -base64 32` makes a good line.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import logging
import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

__all__ = ["MAX_KEY_BYTES", "MIN_DISTINCT_BYTES", "MIN_KEY_BYTES", "TokenKeys", "new_key", "parse_key", "read_key"]

MIN_KEY_BYTES: Final = 32
"""The fewest bytes of a key: the size of the hash, which RFC 7518, 3.2, requires for HS256."""

MIN_DISTINCT_BYTES: Final = 8
"""The fewest different byte values of a key. Random bytes have more: 32 hexadecimal digits have 14 on average."""

MAX_KEY_BYTES: Final = 4096
"""The most bytes of a file with a key. A key has some 44; a larger file is another one, by mistake."""

_log = logging.getLogger("ociserver.auth")

_ADVICE: Final = "make a key with `openssl rand -base64 32`"
_KEY_ID: Final = b"ociserver key id"
_SUBKEY: Final = b"ociserver subkey "
_KEY_ID_BYTES: Final = 8


class TokenKeys:
    """One or more keys, the newest first. The newest signs, and all verify.

    To replace a key, put the new one in front of it. Remove the old one when its last token has expired.

    Args:
        keys: the secrets. `parse_key` makes them of text.

    Raises:
        ValueError: there is no key, or one is weak or given twice. The message does not repeat it.
    """

    __slots__ = ("_keys", "_newest")

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError(f"there is no key for tokens: {_ADVICE}")
        self._keys: dict[str, bytes] = {}
        for number, key in enumerate(keys, 1):
            _check(key, f"key {number} for tokens")
            if self._keys.setdefault(_id_of(key), key) is not key:
                raise ValueError(f"key {number} for tokens is there twice")
        self._newest = next(iter(self._keys))

    def __repr__(self) -> str:
        return f"TokenKeys({', '.join(self._keys)})"

    @property
    def ids(self) -> list[str]:
        """The id of each key, the newest first. It is derived from the key, and does not reveal it."""
        return list(self._keys)

    def sign(self, message: bytes) -> bytes:
        """HMAC-SHA-256 by the newest key."""
        return hmac.digest(self._keys[self._newest], message, "sha256")

    def mac(self, key_id: str, message: bytes) -> bytes | None:
        """HMAC-SHA-256 by the key with this id. None if there is no such key."""
        key = self._keys.get(key_id)
        return None if key is None else hmac.digest(key, message, "sha256")

    def derive(self, purpose: bytes) -> list[bytes]:
        """Keys of 32 bytes for another use, one of each key, the newest first. They reveal nothing about the keys.

        Args:
            purpose: names the use. No two uses share a name.
        """
        # No token can be signed by mistake: what is signed for one has no space.
        return [hmac.digest(key, _SUBKEY + purpose, "sha256") for key in self._keys.values()]

    @classmethod
    def generate(cls, path: Path) -> Self:
        """The key in a file, which is created unless it exists. Processes that do so together get the same key.

        Rights of the group are taken away: Kubernetes gives them to every file of a volume with an `fsGroup`.

        Raises:
            ValueError: the file contains no key, or users other than its owner have rights on it.
            OSError: the file cannot be read or created.
        """
        try:
            _take_from_group(path)
            return cls([read_key(path)])
        except FileNotFoundError:
            _create(path, new_key() + "\n")
        return cls([read_key(path)])


def new_key() -> str:
    """The text of a new random key of 32 bytes, in base64."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def parse_key(text: str, origin: str = "the key for tokens") -> bytes:
    """The secret of the text of a key (see the module).

    Args:
        text: the line.
        origin: what messages call the key.

    Raises:
        ValueError: the text has several lines, or is a weak key. The message does not repeat it.
    """
    line = text.strip()
    if not line.isprintable():
        raise ValueError(f"{origin} is not one line of text: {_ADVICE}")
    key = line.encode()
    _check(key, origin)
    return key


def read_key(path: Path) -> bytes:
    """The secret in a file.

    Raises:
        ValueError: the file contains no key, or users other than its owner have rights on it.
        OSError: the file cannot be read.
    """
    origin = f"the file {path}"
    # Without O_NONBLOCK, a named pipe would wait for a writer.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise ValueError(f"{origin} is not a regular file")
        if mode & 0o077:
            raise ValueError(f"other users have rights on {origin}, which contains a key: chmod 600 {path}")
        content = file.read(MAX_KEY_BYTES + 1)
    if len(content) > MAX_KEY_BYTES:
        raise ValueError(f"{origin} has more than {MAX_KEY_BYTES} bytes, so it is not a key: {_ADVICE}")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = None  # the error would carry the bytes
    if text is None:
        raise ValueError(f"{origin} is not UTF-8: {_ADVICE}")
    return parse_key(text, origin)


def _take_from_group(path: Path) -> None:
    status = os.stat(path)
    if status.st_uid == os.geteuid() and status.st_mode & 0o077 and not status.st_mode & 0o007:
        path.chmod(0o600)
        _log.warning("%s: took away the rights of its group, because it contains a key", path)


def _create(path: Path, text: str) -> None:
    """Create a file with all of its content, unless it exists."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link never replaces the file of another process.
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)  # so that tokens survive a power cut
    finally:
        os.close(folder)


def _check(key: bytes, origin: str) -> None:
    if len(key) < MIN_KEY_BYTES:
        raise ValueError(f"{origin} has fewer than {MIN_KEY_BYTES} bytes: {_ADVICE}")
    if len(set(key)) < MIN_DISTINCT_BYTES:
        raise ValueError(f"{origin} has fewer than {MIN_DISTINCT_BYTES} different byte values: {_ADVICE}")


def _id_of(key: bytes) -> str:
    digest = hmac.digest(key, _KEY_ID, "sha256")
    return base64.urlsafe_b64encode(digest[:_KEY_ID_BYTES]).rstrip(b"=").decode()
