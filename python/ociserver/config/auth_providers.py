"""The tables `[auth.token-server]` and `[auth.oidc.NAME]`: whose tokens are accepted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, get_args
from weakref import WeakValueDictionary

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.config import JsonDict

from ociserver.auth import oidc, token_server
from ociserver.auth.challenges import check_quotable
from ociserver.auth.fetching import Fetch, check_url
from ociserver.auth.jwks import DiscoveredJwks, JwksFile, JwksUrl, KeySource
from ociserver.auth.public_keys import ALGORITHMS
from ociserver.config.auth_values import Name, NamePattern
from ociserver.config.values import DocumentUrl, File, FilledText, Part, Url

__all__ = ["PROVIDERS_SCHEMA", "Algorithm", "Oidc", "ProviderName", "TokenServer"]

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""An algorithm of signatures that can be accepted."""

assert get_args(Algorithm) == ALGORITHMS

_ONE_ORIGIN: Final = "needs exactly one of jwks, jwks-url and certificates: where the keys of the token server are"


_IN_USE: Final[WeakValueDictionary[tuple[object, ...], JwksUrl]] = WeakValueDictionary()
"""Keys of the handlers that are in use, by their settings. After a reload the last good ones are still there, even if
the provider is down at this moment."""


def _provider(name: str) -> str:
    if not re.fullmatch(oidc.PROVIDER_NAME, name):
        raise ValueError("must be lower-case letters, digits, - and _, and at most 63")
    return name


ProviderName = Annotated[str, AfterValidator(_provider)]
"""The name of an identity provider: a key, whose schema is `PROVIDERS_SCHEMA`."""

PROVIDERS_SCHEMA: Final[JsonDict] = {"propertyNames": {"pattern": f"^{oidc.PROVIDER_NAME}$"}}

Algorithms = Annotated[list[Algorithm], Field(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class TokenServer(Part):
    """Another program issues the tokens: `auth: token` of distribution. This registry then has no `/v2/token`."""

    __pydantic_config__: ClassVar[ConfigDict] = Part.__pydantic_config__ | ConfigDict(
        json_schema_extra={"oneOf": [{"required": [key]} for key in ("jwks", "jwks-url", "certificates")]}
    )

    realm: Annotated[Url, AfterValidator(check_quotable)]
    """The URL where clients get tokens."""
    service: Annotated[FilledText, AfterValidator(check_quotable)]
    """The name of this registry at the token server: the audience of its tokens."""
    issuer: FilledText
    """The issuer of the tokens."""
    jwks: File | None = None
    """A file with the public keys of the token server: a JWK set. It is read again when it changes."""
    jwks_url: DocumentUrl | None = None
    """The URL of its JWK set."""
    certificates: File | None = None
    """A file with its certificates or public keys in PEM: `rootcertbundle` of distribution."""
    algorithms: Algorithms | None = None
    """The algorithms of its signatures. By default all that are asymmetric."""
    ca: File | None = None
    """A file with the authorities whose TLS certificates are trusted for `jwks-url`. By default those of the system."""

    def __post_init__(self) -> None:
        if [self.jwks, self.jwks_url, self.certificates].count(None) != 2:
            raise ValueError(_ONE_ORIGIN)

    def built(self) -> token_server.TokenServer:
        """The token server that this table describes.

        Raises:
            ValueError: a file of keys is wrong, or a name cannot stand in a header.
            OSError: a file cannot be read.
            ImportError: the packages for signatures or for requests are not installed.
        """
        keys = _keys(self.jwks or self.certificates, self.jwks_url, None, self.algorithms or ALGORITHMS, self.ca)
        return token_server.TokenServer(realm=self.realm, service=self.service, issuer=self.issuer, keys=keys)


@dataclass(frozen=True, kw_only=True)
class Oidc(Part):
    """An identity provider whose tokens are accepted: of a CI system, of Kubernetes, of a company."""

    __pydantic_config__: ClassVar[ConfigDict] = Part.__pydantic_config__ | ConfigDict(
        json_schema_extra={"not": {"required": ["jwks", "jwks-url"]}}
    )

    issuer: FilledText
    """The issuer of the tokens, exactly as they name it: a URL."""
    audience: FilledText
    """What the tokens must be for: a name of this registry that no other service has."""
    jwks: File | None = None
    """A file with the public keys of the provider: a JWK set, or public keys in PEM. It is read again when it changes.
    """
    jwks_url: DocumentUrl | None = None
    """The URL of its JWK set. By default the discovery document of the issuer names it."""
    username: FilledText | None = None
    """The claim with the name of the user. By default `sub`."""
    groups: FilledText | None = None
    """The claim with the groups of the user, a list or a string. By default there are none."""
    require: Annotated[dict[Name, NamePattern], Field(min_length=1)] | None = None
    """Patterns of claims. A token must match all of them."""
    algorithms: Algorithms | None = None
    """The algorithms of its signatures. By default all that are asymmetric."""
    ca: File | None = None
    """A file with the authorities whose TLS certificates are trusted for its keys. By default those of the system."""

    def __post_init__(self) -> None:
        if self.jwks is not None and self.jwks_url is not None:
            raise ValueError("has both jwks and jwks-url: where are the keys of the provider?")
        if self.jwks is None and self.jwks_url is None:
            check_url(self.issuer)

    def built(self, name: str) -> oidc.OidcProvider:
        """The provider that this table describes.

        Raises:
            ValueError: a file of keys is wrong.
            OSError: a file cannot be read.
            ImportError: the packages for signatures or for requests are not installed.
        """
        return oidc.OidcProvider(
            name,
            issuer=self.issuer,
            audience=self.audience,
            keys=_keys(self.jwks, self.jwks_url, self.issuer, self.algorithms or ALGORITHMS, self.ca),
            username=self.username or oidc.USERNAME,
            groups=self.groups,
            require=self.require,
        )


def _keys(
    file: Path | None, url: str | None, issuer: str | None, algorithms: Sequence[str], ca: Path | None
) -> KeySource:
    """Where the keys are: in a file, at a URL, or where the issuer says."""
    if file is not None:
        return JwksFile(file, algorithms)
    authorities = b"" if ca is None else ca.read_bytes()
    key = (url, issuer if url is None else None, tuple(algorithms), authorities)
    source = _IN_USE.get(key)
    if source is None:
        fetch = Fetch(ca=ca)
        if url is not None:
            source = JwksUrl(url, fetch, algorithms=algorithms)
        else:
            assert issuer is not None
            source = DiscoveredJwks(issuer, fetch, algorithms=algorithms)
        _IN_USE[key] = source
    return source
