"""OpenID Connect: tokens with which a CI system or a platform says which job or workload somebody is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

from ociserver.auth.authorization import InvalidCredentialsError
from ociserver.auth.claim_patterns import ClaimPatterns
from ociserver.auth.identity import Identity
from ociserver.auth.jose import dump_json
from ociserver.auth.jwks import KeySource
from ociserver.auth.jwt_verifier import JwtVerifier
from ociserver.auth.token_server import MAX_NAME

__all__ = ["MAX_GROUPS", "PROVIDER_NAME", "USERNAME", "VIA", "OidcProvider"]

VIA: Final = "oidc"
"""`Identity.via` of identities from a provider, also if they come back with a token of ours."""

USERNAME: Final = "sub"
"""The claim with the name of a user, unless another one is set. OpenID Connect promises that it is unique."""

PROVIDER_NAME: Final = r"[a-z0-9][a-z0-9_-]{0,62}"
"""The names of providers. Without a colon, so that it is clear where the name of a user begins."""

MAX_GROUPS: Final = 256
"""The most groups of a user. Providers have limits too: Entra ID lists 200."""

_STAMP_LENGTH: Final = 24
_NAME: Final = re.compile(PROVIDER_NAME)


class OidcProvider:
    """Accepts the tokens of an identity provider.

    The user `X` of the provider `P` has the name `P:X`, and its groups are named in the same way. So no provider can
    name a user of another one, or of a file of passwords, where names have no colon.

    Args:
        name: of the provider, in the names of its users, and the user name with which clients send a token as their
            password.
        issuer: the exact `iss` of tokens.
        audience: the exact `aud` of tokens, or a member of it. It is the name of this registry, and of nothing else:
            a service that accepts tokens for the same audience could use them here.
        keys: of the provider.
        username: the claim with the name of the user.
        groups: the claim with the groups of the user, a list or a string. None: it has no groups.
        require: patterns of claims. A token that does not match all of them is refused.
        options: of `JwtVerifier`.

    Raises:
        ValueError: a name or a pattern is wrong, or the audience is empty.
    """

    def __init__(
        self,
        name: str,
        *,
        issuer: str,
        audience: str,
        keys: KeySource,
        username: str = USERNAME,
        groups: str | None = None,
        require: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError("the name of a provider must be lower-case letters, digits, - and _, and at most 63")
        if not username or groups == "":
            raise ValueError("the name of a claim must not be empty")
        self.name: Final = name
        self._verifier = JwtVerifier(keys, issuer=issuer, audience=audience, **options)
        self._username = username
        self._groups = groups
        self._require = ClaimPatterns(require or {})
        settings = dump_json([name, issuer, audience, username, groups, sorted((require or {}).items())])
        self.stamp: Final = hashlib.sha256(settings.encode()).hexdigest()[:_STAMP_LENGTH]
        """A fingerprint of the settings that say who may sign in. With other settings, our tokens end too."""

    @property
    def issuer(self) -> str:
        """The `iss` of its tokens."""
        return self._verifier.issuer

    def owns(self, user: str) -> bool:
        """Whether a user, by its name as the rules see it, is one of this provider."""
        return user.startswith(f"{self.name}:")

    async def identity(self, token: str) -> Identity:
        """Whose a token is.

        Raises:
            InvalidCredentialsError: the token is not valid, or not what is required.
            OCIError: 503: the keys of the provider cannot be fetched.
        """
        claims = await self._verifier.verify(token)
        if not self._require.matches(claims):
            raise InvalidCredentialsError("the claims of the token are not what the registry requires")
        user = self._name_of(claims.get(self._username), "name of a user")
        groups = frozenset(self._name_of(group, "list of groups") for group in self._group_list(claims))
        return Identity(user, groups, VIA, claims=claims, expires=float(claims["exp"]))

    def _group_list(self, claims: Mapping[str, Any]) -> list[Any]:
        groups = None if self._groups is None else claims.get(self._groups)
        if groups is None or groups == "":
            return []
        if not isinstance(groups, list):
            return [groups]
        if len(groups) > MAX_GROUPS:
            raise InvalidCredentialsError(f"the token has more than {MAX_GROUPS} groups")
        return groups

    def _name_of(self, value: Any, what: str) -> str:
        if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or not value.isprintable():
            raise InvalidCredentialsError(f"a claim of the token is not the {what}")
        return f"{self.name}:{value}"
