"""What a client shows to a registry, to be let in."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

__all__ = ["Credentials", "Find"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user with a password, or tokens of an earlier login. `repr` shows the user alone.

    Args:
        username: "" for none.
        password: of the user.
        refresh_token: Docker's identity token: what a token server gives access tokens for.
        access_token: a token to send as it is (Docker's `registrytoken`).

    Raises:
        ValueError: one of them cannot be sent; the message does not repeat it.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    access_token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if ":" in self.username:
            raise ValueError("a user name of Basic authentication has no colon (RFC 7617)")
        if not (self.access_token.isascii() and self.access_token.isprintable()):
            raise ValueError("an access token has only printable ASCII characters")

    @property
    def basic(self) -> str | None:
        """The Authorization header that shows the user's password; None without a user."""
        if not self.username:
            return None
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


Find = Callable[[str], Awaitable[Credentials | None]]
"""Finds the credentials of a registry by its `host` or `host:port`; None where there are none."""
