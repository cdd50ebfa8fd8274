"""An external token server: another program issues the tokens, as distribution's `auth: token` has it.

Its tokens are those of https://distribution.github.io/distribution/spec/auth/jwt/, with the claim `access`.
"""

from __future__ import annotations

from typing import Any, Final

from ociserver.auth.authorization import InvalidCredentialsError
from ociserver.auth.challenges import check_quotable
from ociserver.auth.identity import Identity
from ociserver.auth.jwks import KeySource
from ociserver.auth.jwt_verifier import JwtVerifier
from ociserver.auth.scopes import grants_of

__all__ = ["MAX_NAME", "VIA", "TokenServer"]

VIA: Final = "token-server"
"""`Identity.via` of clients with a token of the token server."""

MAX_NAME: Final = 512
"""The most characters of a user's name, here and in tokens of OpenID Connect. Those of GitHub have some 100."""


class TokenServer:
    """Accepts the tokens of an external token server.

    What a token says in `access` is what its client may do. Rules may limit it further, and never add to it.

    Args:
        realm: the URL where clients get tokens.
        service: the name of this registry there: the exact `aud` of tokens.
        issuer: the exact `iss` of tokens.
        keys: of the token server.
        options: of `JwtVerifier`.

    Raises:
        ValueError: a name is empty, or cannot stand in a header.
    """

    def __init__(self, *, realm: str, service: str, issuer: str, keys: KeySource, **options: Any) -> None:
        self.realm: Final = check_quotable(realm)
        self.service: Final = check_quotable(service)
        self._verifier = JwtVerifier(keys, issuer=issuer, audience=service, **options)

    @property
    def issuer(self) -> str:
        """The `iss` of its tokens."""
        return self._verifier.issuer

    async def identity(self, token: str) -> Identity:
        """Whose a token is, and what it may be used for. Without a subject it is of a client without an account.

        Raises:
            InvalidCredentialsError: the token is not valid.
            OCIError: 503: the keys of the token server cannot be fetched.
        """
        claims = await self._verifier.verify(token)
        user = claims.get("sub", "")
        if not isinstance(user, str) or len(user) > MAX_NAME or not user.isprintable():
            raise InvalidCredentialsError("the claim sub of the token is not the name of a user")
        # Without the claim it is another kind of token of the same issuer, such as one that says who somebody is.
        if "access" not in claims:
            raise InvalidCredentialsError("the token has no claim access")
        try:
            grants = grants_of(claims["access"])
        except ValueError:
            grants = None
        if grants is None:
            raise InvalidCredentialsError("the claim access of the token is not a list of grants")
        return Identity(user, via=VIA, grants=grants, expires=float(claims["exp"]))
