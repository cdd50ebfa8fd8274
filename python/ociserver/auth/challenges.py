"""What a client is told that has to sign in, or needs another token (RFC 6750, 3)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from ociserver.auth.needs import scope_of
from ociserver.auth.origin import url_of
from ociserver.auth.scopes import format_scope
from ociserver.errors import OCIError

if TYPE_CHECKING:
    from ociserver._core import Request
    from ociserver.types import Scope

__all__ = ["TOKEN_PATH", "Challenges", "check_quotable", "token_error", "wrong_credentials"]

TOKEN_PATH: Final = "/v2/token"  # noqa: S105  (a path)
"""The path of the token endpoint. Ingresses often map only `/v2/`, and no repository has this path."""

_REALM: Final = "registry"
"""The realm of the Basic challenge of the token endpoint."""


_QUOTABLE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")


class Challenges:
    """Makes the errors with a challenge. Each has exactly one, because some clients read only the first.

    Args:
        realm: the URL of the token endpoint. None: `TOKEN_PATH` where the client has sent its request.
        service: the name of this registry in the token protocol.

    Raises:
        ValueError: the realm or the service cannot be in a header.
    """

    def __init__(self, realm: str | None, service: str) -> None:
        self._realm = None if realm is None else check_quotable(realm)
        self._service = check_quotable(service)

    def unauthorized(self, scope: Scope, request: Request, message: str = "", error: str | None = None) -> OCIError:
        """The error for a client that has to sign in.

        Args:
            scope: of the request.
            request: what was asked: the challenge names the scope of a token for it.
            message: for people.
            error: `invalid_token` or `insufficient_scope`; None if the client has sent no token.
        """
        root = quote(scope.get("root_path", "").rstrip("/"))
        realm = self._realm or f"{url_of(scope)}{root}{TOKEN_PATH}"
        parts = [f'realm="{realm}"', f'service="{self._service}"']
        if wanted := format_scope(scope_of(request)):
            parts.append(f'scope="{wanted}"')
        if error:
            parts.append(f'error="{error}"')
        return OCIError("UNAUTHORIZED", message, headers={"WWW-Authenticate": f"Bearer {','.join(parts)}"})

    def insufficient(self, scope: Scope, request: Request) -> OCIError:
        """The error for a client whose token is too narrow for what the rules allow."""
        return self.unauthorized(scope, request, "the token is not for this request", "insufficient_scope")


def token_error(scope: Scope, error: str = "invalid_token") -> str | None:
    """The `error` of a challenge, if the client sent a token. Without it, some clients use the same token again."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            return error if value[:7].lower() == b"bearer " else None
    return None


def wrong_credentials(message: str) -> OCIError:
    """The error of the token endpoint."""
    return OCIError("UNAUTHORIZED", message, headers={"WWW-Authenticate": f'Basic realm="{_REALM}"'})


def check_quotable(text: str) -> str:
    """The same text, if it can stand in quotes in a header (RFC 9110, 5.6.4).

    Raises:
        ValueError: it cannot.
    """
    if not _QUOTABLE.fullmatch(text) or '"' in text or "\\" in text:
        raise ValueError("must be printable ASCII without quotes and backslashes, and not be empty")
    return text
