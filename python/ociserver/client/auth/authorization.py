"""The interface between requests and the classes that authorise them."""

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
"""Sends a request to a token server. Returns its status and its body, which is bounded. Follows no redirect."""


class Authorization(Protocol):
    """Makes the Authorization headers of requests to the registry. It is not called for any other host.

    Both methods get the scope of the request (`repository:name:pull`, several with spaces between, "" for none) and a
    function that reaches a token server. Many tasks call them concurrently.
    """

    async def header(self, scope: str, fetch: Fetch) -> str | None:
        """The Authorization header of the first attempt; None for none."""

    async def challenge(
        self, scope: str, challenges: Sequence[Challenge], sent: str | None, fetch: Fetch
    ) -> str | None:
        """The header for another attempt after a 401; None to accept the 401.

        Args:
            scope: of the request.
            challenges: from the WWW-Authenticate headers.
            sent: the header that the registry refused.
            fetch: see the class.
        """


class Basic:
    """Sends user and password with every request. This saves the 401 if the registry is known to use Basic."""

    def __init__(self, username: str, password: str) -> None:
        self._header = Credentials(username, password).basic

    async def header(self, scope: str, fetch: Fetch) -> str | None:
        return self._header

    async def challenge(
        self, scope: str, challenges: Sequence[Challenge], sent: str | None, fetch: Fetch
    ) -> str | None:
        return None
