"""What the handler asks of the object that knows the clients and their rights: `ociserver.auth.Auth`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ociserver._core import Request
    from ociserver.auth.authorization import Basic
    from ociserver.auth.identity import Grants, Identity
    from ociserver.auth.tokens import IssuedToken
    from ociserver.interface import Backend
    from ociserver.types import Scope

__all__ = ["Authority"]


class Authority(Protocol):
    """Knows who sends a request, and what they may do. The methods are described in `ociserver.auth.Auth`."""

    @property
    def token_path(self) -> str | None:
        """The path of the token endpoint, below the prefix where the handler is mounted; None: there is none."""

    def guard(self, backend: Any) -> Backend:
        """The backend as the client of the current request may use it."""

    async def identify(self, scope: Scope, request: Request) -> Identity:
        """Who sends a request."""

    def check(self, scope: Scope, request: Request, identity: Identity) -> None:
        """Refuse what the client may not do."""

    def admit_nowait(self, authorization: bytes | None, repository: str) -> Identity | None:
        """The identity of a client that may read everything in a repository; None: ask `identify`."""

    def finished(
        self, scope: Scope, request: Request, identity: Identity, status: int, digest: str | None = None
    ) -> None:
        """Record a change that was made."""

    def denied(self, scope: Scope, request: Request, identity: Identity) -> None:
        """Record a request that was refused."""

    async def aclose(self) -> None:
        """Refuse the sign-ins that wait."""

    async def token_identity(self, scope: Scope, credentials: Basic | None, account: str) -> Identity:
        """Who asks for a token."""

    def issue(self, scope: Scope, identity: Identity, asked: Grants) -> IssuedToken:
        """A token for what the rules allow of what a client asks for."""
