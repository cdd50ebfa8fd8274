"""The seam between requests and whatever authorises them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ociserver.client.auth.challenges import Challenge
from ociserver.client.auth.credentials import Credentials

__all__ = ["Authorization", "Basic", "Fetch", "TokenRequest"]


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request to a token server: a GET, or a POST of a form."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    form: bytes | None = field(default=None, repr=False)


Fetch = Callable[[TokenRequest], Awaitable[tuple[int, bytes]]]
"""Asks a token server: its status and its answer, which is bounded. It follows no redirect."""


class Authorization(Protocol):
    """Says what a request to the registry shows. It is asked for no request to any other host.

    Both methods get the scope of the request (`repository:name:pull`, several with spaces between, "" for
    none) and a function to reach a token server with, and are called by many tasks at once.
    """

    async def header(self, scope: str, fetch: Fetch) -> str | None:
        """The Authorization header to send at first; None for none."""

    async def challenge(
        self, scope: str, challenges: Sequence[Challenge], sent: str | None, fetch: Fetch
    ) -> str | None:
        """The header to try once more with, after the registry said 401; None to let that stand.

        Args:
            scope: of the request.
            challenges: what its WWW-Authenticate headers ask for.
            sent: the header that was refused.
            fetch: see the class.
        """


class Basic:
    """Shows a user and a password with every request, asked or not. Saves the 401 where Basic is known to be wanted."""

    def __init__(self, username: str, password: str) -> None:
        self._header = Credentials(username, password).basic

    async def header(self, scope: str, fetch: Fetch) -> str | None:
        return self._header

    async def challenge(
        self, scope: str, challenges: Sequence[Challenge], sent: str | None, fetch: Fetch
    ) -> str | None:
        return None
