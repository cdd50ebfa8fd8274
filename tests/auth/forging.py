"""Tokens as an attacker would write them: any header, any claims, any signature. Independent of `ociserver.auth`."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any, Final

from ociserver.auth.keys import TokenKeys
from ociserver.auth.tokens import Tokens

__all__ = [
    "ISSUER",
    "KEY",
    "KEY_ID",
    "NOW",
    "SERVICE",
    "claims",
    "decoded",
    "encoded",
    "header",
    "joined",
    "signed",
    "tokens",
]

KEY: Final = b"The quick brown fox jumps over the lazy dog"
KEY_ID: Final = TokenKeys([KEY]).ids[0]
ISSUER: Final = "registry.example.com"
SERVICE: Final = "the registry"
NOW: Final = 1_800_000_000
"""The time of every clock here, in seconds since the epoch."""


def tokens(**options: Any) -> Tokens:
    """What verifies: with the key, and with a clock that stands still."""
    chosen = {"issuer": ISSUER, "service": SERVICE, "clock": lambda: NOW, **options}
    return Tokens(chosen.pop("keys", TokenKeys([KEY])), **chosen)


def header(**changes: Any) -> dict[str, Any]:
    """The header of a good token, with changes. None as a value removes the member."""
    return _changed({"alg": "HS256", "kid": KEY_ID, "typ": "registry+jwt"}, changes)


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a good token, with changes. None as a value removes the claim."""
    good = {
        "iss": ISSUER,
        "aud": SERVICE,
        "sub": "anna",
        "exp": NOW + 300,
        "nbf": NOW,
        "iat": NOW,
        "jti": "one",
        "via": "htpasswd",
        "access": [{"type": "repository", "name": "team/app", "actions": ["pull"]}],
    }
    return _changed(good, changes)


def signed(head: Any, body: Any, key: bytes = KEY) -> str:
    """A token, signed with HS256. Header and claims are JSON values, or bytes that stand in the token as they are."""
    return joined(encoded(_bytes(head)), encoded(_bytes(body)), key)


def joined(head: str, body: str, key: bytes = KEY) -> str:
    """Two parts as they are, and their signature."""
    digest = hmac.new(key, f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{encoded(digest)}"


def encoded(content: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def decoded(part: str) -> bytes:
    """The content of base64url without padding."""
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def _changed(good: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (good | changes).items() if value is not None}
