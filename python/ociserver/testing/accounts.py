"""The users of a registry in a test: one, with a password that is made for the test."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from ociserver.auth.authorization import Basic, InvalidCredentialsError, parse_authorization
from ociserver.auth.identity import Identity

if TYPE_CHECKING:
    from ociserver.auth import Auth

__all__ = ["USER", "Access", "Credentials", "authority", "credentials_for"]

USER: Final = "user"
PASSWORD_BYTES: Final = 12
"""Random bytes of a password."""

VIA: Final = "testing"
"""How the user signs in, see `ociserver.auth.Identity`."""


class Credentials(NamedTuple):
    """A user name and a password, as a pair or by name."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r}, password=...)"


Access = Literal["push", "all"]
"""What needs a sign-in: only pushes and deletions, or everything."""


def credentials_for(auth: object, user: str = USER) -> tuple[Credentials, Access] | None:
    """The credentials and the access that the argument `auth` of a registry asks for; None: no sign-in.

    Args:
        auth: False; True; "push"; or a user name and a password.
        user: the name of the user, if none is given.

    Raises:
        ValueError: it is something else.
    """
    if auth is False or auth is None:
        return None
    if auth is True or auth == "push":
        made = Credentials(user, secrets.token_urlsafe(PASSWORD_BYTES))
        return made, "push" if auth == "push" else "all"
    if isinstance(auth, tuple) and len(auth) == 2 and all(isinstance(part, str) and part for part in auth):
        return Credentials(*auth), "all"
    # A tuple may have a password.
    shown = "a tuple of something else" if isinstance(auth, tuple) else repr(auth)
    raise ValueError(f"auth is {shown}; use True, 'push' (everybody may pull), or (user, password)")


def authority(credentials: Credentials, access: Access, *, realm: str, service: str) -> Auth:
    """Who may do what: the user everything, and with "push" everybody may pull.

    Args:
        credentials: of the user.
        access: what needs a sign-in.
        realm: the URL of the token endpoint.
        service: the name of the registry in the token protocol.
    """
    from ociserver.auth import Auth, Rule

    # There is only one user, whose name may have characters that are special in patterns.
    rules = [Rule(repositories=("*",), allow=("pull", "push", "delete"), authenticated=True)]
    if access == "push":
        rules.append(Rule(repositories=("*",), allow=("pull",), anonymous=True))

    async def authenticate(headers: Mapping[str, str]) -> Identity | None:
        return identity_of(headers, credentials)

    return Auth(rules, authenticate=authenticate, realm=realm, service=service)


def identity_of(headers: Mapping[str, str], credentials: Credentials) -> Identity | None:
    """The identity of the user, if a request has the right name and password."""
    try:
        sent = parse_authorization(headers.get("authorization", "").encode("latin-1"))
    except InvalidCredentialsError:
        return None
    if not isinstance(sent, Basic):
        return None
    expected = f"{credentials.user}:{credentials.password}".encode()
    if not hmac.compare_digest(f"{sent.user}:{sent.password}".encode(), expected):
        return None
    return Identity(credentials.user, via=VIA)
