"""The credentials that a client sends to a registry."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from ociserver.client.headers import is_printable

__all__ = ["Credentials", "Find"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user with a password, or tokens of an earlier login. `repr` shows only the user.

    Args:
        username: "" for none.
        password: of the user.
        refresh_token: Docker's identity token. A token server exchanges it for access tokens.
        access_token: a token to send unchanged (Docker's `registrytoken`).

    Raises:
        ValueError: one of them cannot be sent. The message does not repeat it.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    access_token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if ":" in self.username:
            raise ValueError("a user name for Basic authentication must not contain a colon (RFC 7617)")
        if not is_printable(self.access_token):
            raise ValueError("an access token must consist of printable ASCII characters")

    @property
    def basic(self) -> str | None:
        """The Authorization header for user and password; None without a user."""
        if not self.username:
            return None
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


Find = Callable[[str], Awaitable[Credentials | None]]
"""Finds the credentials of a registry by its `host` or `host:port`; None if there are none."""
