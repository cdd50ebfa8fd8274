"""The two encodings of a compact JWS, base64url and JSON, read so strictly that a content has one form only.

A reader that tolerates padding, other characters or duplicate members may see another token than the one that was
checked (RFC 8725, 2.4 and 3.2; RFC 7515, 4 and 10.12).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, Final, NoReturn

from ociserver.errors import RegistryError

__all__ = ["InvalidTokenError", "decode_part", "dump_json", "encode_part", "load_object"]


class InvalidTokenError(RegistryError):
    """A token must not be accepted.

    Args:
        reason: for the log. It contains nothing of the token.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


dump_json: Final[Callable[[Any], str]] = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""JSON without spaces."""


def encode_part(content: bytes) -> str:
    """base64url without padding (RFC 7515, 2)."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def decode_part(part: str) -> bytes:
    """The content of a part in base64url.

    Raises:
        InvalidTokenError: the part has padding, other characters, or other bits at its end than `encode_part` writes.
    """
    try:
        content = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        content = None
    # The decoder ignores what it does not know.
    if content is None or encode_part(content) != part:
        raise InvalidTokenError("a part of the token is not base64url")
    return content


def load_object(content: bytes) -> dict[str, Any]:
    """The JSON object in a part.

    Raises:
        InvalidTokenError: it is no JSON object, or a member occurs twice.
    """
    try:
        value = _DECODER.decode(content.decode())
    except (ValueError, RecursionError):
        value = None  # outside of this block, the new error does not carry the old one, and with it the content
    if not isinstance(value, dict):
        raise InvalidTokenError("a part of the token is not a JSON object with unique members")
    return value


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(members)
    if len(value) != len(members):
        raise ValueError("a member occurs twice")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
