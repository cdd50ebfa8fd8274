"""What somebody has to show to a registry."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

__all__ = ["Credentials", "Find"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user with a password, or tokens of an earlier login. Nothing of it is shown by `repr`.

    Args:
        username: "" for none.
        password: of the user.
        refresh_token: Docker's identity token: what a token server gives access tokens for.
        access_token: a token to send as it is (Docker's `registrytoken`).
    """

    username: str = ""
    password: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    access_token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if ":" in self.username:
            raise ValueError("a user name of Basic authentication has no colon (RFC 7617)")

    @property
    def basic(self) -> str | None:
        """The Authorization header that shows the user's password; None without a user."""
        if not self.username:
            return None
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


Find = Callable[[str], Awaitable[Credentials | None]]
"""Finds the credentials of a registry by its `host` or `host:port`; None where there are none."""
