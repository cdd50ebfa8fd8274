"""Reads the Authorization header of a request (RFC 9110, 11.6.2)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ociserver.errors import OCIError

if TYPE_CHECKING:
    from ociserver.types import Scope

__all__ = ["Basic", "Bearer", "InvalidCredentialsError", "authorization_of", "parse_authorization"]

MAX_AUTHORIZATION: Final = 16 * 1024
"""The most bytes of an Authorization header. Tokens of identity providers have a few KiB."""


class InvalidCredentialsError(Exception):
    """Credentials that cannot be accepted. The text is for the client and for the log, and has no secret."""


@dataclass(frozen=True, slots=True)
class Basic:
    """A user name and a password (RFC 7617)."""

    user: str
    password: str = field(repr=False)

    @property
    def header(self) -> str:
        """The value of an Authorization header with these credentials."""
        return f"Basic {base64.b64encode(f'{self.user}:{self.password}'.encode(errors='surrogateescape')).decode()}"


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token (RFC 6750)."""

    token: str = field(repr=False)


def authorization_of(scope: Scope) -> bytes | None:
    """The value of the Authorization header.

    Raises:
        OCIError: UNAUTHORIZED/400 if there are several, because a proxy may have checked another one than this server
            would, or if the value is too long.
    """
    found: bytes | None = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            if found is not None:
                raise OCIError("UNAUTHORIZED", "the request has more than one Authorization header", status=400)
            found = value
    if found is not None and len(found) > MAX_AUTHORIZATION:
        raise OCIError("UNAUTHORIZED", f"the Authorization header is longer than {MAX_AUTHORIZATION} bytes", status=400)
    return found


def parse_authorization(value: bytes) -> Basic | Bearer | None:
    """The credentials in an Authorization header. None: no credentials, as from clients that send empty ones.

    Raises:
        InvalidCredentialsError: another scheme, or a value that is not well-formed.
    """
    scheme, _, rest = value.strip().partition(b" ")
    rest = rest.strip()
    match scheme.lower():
        case b"basic":
            return _basic(rest)
        case b"bearer" if rest and rest.isascii():
            return Bearer(rest.decode())
        case b"bearer":
            raise InvalidCredentialsError("the Bearer token is empty or not ASCII")
    raise InvalidCredentialsError("the scheme of the Authorization header is neither Basic nor Bearer")


def _basic(value: bytes) -> Basic | None:
    try:
        text = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise InvalidCredentialsError("the Basic credentials are not UTF-8 text in base64") from None
    user, colon, password = text.partition(":")
    if not colon:
        raise InvalidCredentialsError("the Basic credentials have no colon between user name and password")
    if not user and not password:
        # containers/image sends `Basic Og==` if it has no credentials.
        return None
    return Basic(user, password)
