"""The table `[auth]`: who may sign in, and who may do what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.config import JsonDict

from ociserver.auth import auth as auth_package
from ociserver.auth.hashing import usable_threads
from ociserver.auth.identity import Action
from ociserver.auth.key_accounts import PROVIDER, KeyStore
from ociserver.auth.keys import TokenKeys, parse_key
from ociserver.auth.rules import Rule, Rules
from ociserver.auth.token_server import VIA
from ociserver.auth.tokens import LIFETIME_S, MAX_LIFETIME_S, MIN_LIFETIME_S
from ociserver.config.auth_providers import PROVIDERS_SCHEMA, Oidc, ProviderName, TokenServer
from ociserver.config.auth_values import Name, NamePattern, NamePatterns
from ociserver.config.values import Duration, File, Flag, Part, Text, Url
from ociserver.meter import Meter
from ociserver.units import parse_duration

__all__ = ["Auth", "AuthRule", "Htpasswd", "auth_of", "rules_of"]

_EXAMPLE: Final = 'authenticated = true, repositories = ["*"], allow = ["pull", "push"]'


def _lifetime(text: str) -> str:
    if not MIN_LIFETIME_S <= parse_duration(text) <= MAX_LIFETIME_S:
        raise ValueError(f"must be {MIN_LIFETIME_S:.0f} s to {MAX_LIFETIME_S / 3600:.0f} h")
    return text


def _keys(texts: list[str]) -> list[str]:
    TokenKeys([parse_key(text, f"key {number}") for number, text in enumerate(texts, 1)])
    return texts


def _with(name: str, value: Any) -> JsonDict:
    return {"properties": {name: value}, "required": [name]}


@dataclass(frozen=True, kw_only=True)
class Htpasswd(Part):
    """The users of a file of passwords."""

    file: File
    """The file: lines of `user:hash`, as `htpasswd -B` writes them."""


@dataclass(frozen=True, kw_only=True)
class AuthRule(Part):
    """One rule. It allows something, and never forbids anything."""

    __pydantic_config__: ClassVar[ConfigDict] = Part.__pydantic_config__ | ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["users"]},
                {"required": ["groups"]},
                _with("authenticated", {"const": True}),
                {**_with("anonymous", {"const": True}), "not": {"required": ["claims"]}},
            ],
            "not": {**_with("anonymous", {"const": True}), "required": ["anonymous", "claims"]},
        }
    )

    users: NamePatterns | None = None
    """The users that the rule is for: patterns, such as "ci-*". They never match a client without credentials."""
    groups: NamePatterns | None = None
    """The groups that the rule is for: patterns of names of `[auth.groups]`."""
    authenticated: Flag | None = None
    """The rule is for everybody who has signed in."""
    anonymous: Flag | None = None
    """The rule is for everybody, with and without credentials."""
    repositories: NamePatterns
    """Patterns of repositories, such as "team/*". `*` is any text, including slashes."""
    allow: Annotated[list[Action], Field(min_length=1)]
    """What the rule allows. `create` is a push that moves no tag, and `push` is any push."""
    tags: NamePatterns | None = None
    """Patterns of the tags that the rule is limited to, such as "v*". Contents without a tag can be pulled and pushed
    all the same, but not deleted."""
    claims: Annotated[dict[Name, NamePattern], Field(min_length=1)] | None = None
    """Patterns of the claims of an identity provider. All of them must match. They limit the rule, and do not select:
    the rule also needs `users`, `groups` or `authenticated`."""

    def __post_init__(self) -> None:
        # Its mistakes are ours.
        self.built()

    def built(self) -> Rule:
        """The rule that this table describes."""
        return Rule(
            repositories=tuple(self.repositories),
            allow=tuple(self.allow),
            users=tuple(self.users or ()),
            groups=tuple(self.groups or ()),
            authenticated=bool(self.authenticated),
            anonymous=bool(self.anonymous),
            tags=None if self.tags is None else tuple(self.tags),
            claims=self.claims or {},
        )


@dataclass(frozen=True, kw_only=True)
class Auth(Part):
    """The table `[auth]`: who may sign in, and who may do what. Without it, everybody may do everything."""

    __pydantic_config__: ClassVar[ConfigDict] = Part.__pydantic_config__ | ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["rules", "htpasswd"]},
                {"required": ["rules", "oidc"]},
                {"required": ["rules", "token-server"]},
                _with("api-keys", {"const": True}),
                _with("rules", {"contains": _with("anonymous", {"const": True})}),
                {"required": ["token-server"], "not": {"anyOf": [{"required": [key]} for key in ("htpasswd", "oidc")]}},
            ],
        }
    )

    realm: Url | None = None
    """The URL of the endpoint that issues tokens, as clients reach it. By default it follows from each request."""
    service: Text | None = None
    """The name of this registry in tokens. All nodes of a registry need the same one."""
    token_lifetime: Annotated[Duration, AfterValidator(_lifetime)] | None = None
    """How long a token is valid. By default 5 min."""
    token_keys: (
        Annotated[
            list[Text],
            AfterValidator(_keys),
            Field(min_length=1, json_schema_extra={"uniqueItems": True}),
        ]
        | None
    ) = field(default=None, repr=False)
    """The secret keys of tokens, the newest first, each from the environment or from a file. The first one signs new
    tokens. By default one that the server makes in the folder of its store; without a folder they are required."""
    htpasswd: Htpasswd | None = None
    """The users of a file of passwords."""
    token_server: TokenServer | None = None
    """Another program that issues the tokens, in place of this registry."""
    oidc: Annotated[dict[ProviderName, Oidc], Field(min_length=1, json_schema_extra=PROVIDERS_SCHEMA)] | None = None
    """Identity providers whose tokens are accepted, by name, such as "github"."""
    api_keys: Flag | None = None
    """Accept the API keys of the store, which `ociserver key create` makes. The registry needs exactly one store. By
    default they are refused."""
    groups: dict[Name, list[Name]] | None = None
    """The users of each group. A change has effect on tokens that exist."""
    rules: Annotated[list[AuthRule], Field(json_schema_extra={"minItems": 1})] = field(default_factory=list)
    """Who may do what. What no rule allows is denied."""

    def __post_init__(self) -> None:
        issuers = [provider.issuer for provider in (self.oidc or {}).values()]
        if self.token_server is not None:
            issuers.append(self.token_server.issuer)
        if len(set(issuers)) < len(issuers):
            raise ValueError("two providers of tokens have the same issuer, so it is not clear who verifies a token")
        if self.api_keys and PROVIDER in (self.oidc or {}):
            raise ValueError(f"the provider {PROVIDER} has the name with which the users of API keys begin; rename it")
        if not self.rules and not self.is_unruled and not self.api_keys:
            raise ValueError(f"has no rules, so nobody may do anything; add [[auth.rules]] with {_EXAMPLE}")
        if not self.has_users and not self.api_keys and not any(rule.anonymous for rule in self.rules):
            raise ValueError(
                "nobody can sign in, and no rule is for clients without credentials, so nobody may do anything; add "
                '[auth.htpasswd] with file = "htpasswd", or a rule with anonymous = true'
            )

    @property
    def has_users(self) -> bool:
        """Whether there is a way to sign in for those whom rules are for. They are not for API keys."""
        return self.htpasswd is not None or not self.is_closed

    @property
    def is_closed(self) -> bool:
        """Whether this file and the file of passwords name all users and all groups: no other service does."""
        return self.token_server is None and not self.oidc

    @property
    def is_unruled(self) -> bool:
        """Whether the tokens of a token server decide alone."""
        is_alone = self.token_server is not None and self.htpasswd is None and not self.oidc
        return is_alone and not self.rules


def rules_of(auth: Auth) -> Rules:
    """The rules of the table, for requests."""
    return Rules([rule.built() for rule in auth.rules], auth.groups or {}, unlimited=VIA if auth.is_unruled else "")


def auth_of(
    auth: Auth,
    kept_keys: Callable[[], TokenKeys],
    processes: int,
    meter: Meter | None = None,
    *,
    api_keys: KeyStore | None = None,
) -> auth_package.Auth:
    """What the table describes, for a handler.

    Args:
        auth: the table.
        kept_keys: the keys of tokens if the table has none.
        processes: that serve the same registry on this machine.
        meter: is told of sign-ins and tokens.
        api_keys: where the API keys are, if the table accepts some.

    Raises:
        ValueError: API keys are accepted, but there is no place for them; or the file of users, a key or a file of keys
            is wrong.
        OSError: the file with the key, or a file of keys, cannot be used.
        ImportError: the packages for password hashes, for signatures or for requests are not installed.
    """
    if auth.api_keys and api_keys is None:
        raise ValueError(
            "api-keys needs exactly one store, which keeps the keys. This registry has none, or several: "
            "remove api-keys, or serve one store"
        )
    return auth_package.Auth(
        rules_of(auth),
        htpasswd=None if auth.htpasswd is None else auth.htpasswd.file,
        token_keys=kept_keys() if auth.token_keys is None else TokenKeys([parse_key(key) for key in auth.token_keys]),
        token_lifetime_s=LIFETIME_S if auth.token_lifetime is None else parse_duration(auth.token_lifetime),
        service=auth_package.SERVICE if auth.service is None else auth.service,
        realm=auth.realm,
        hashing_threads=usable_threads(processes),
        token_server=None if auth.token_server is None else auth.token_server.built(),
        oidc=[provider.built(name) for name, provider in (auth.oidc or {}).items()],
        meter=meter,
        api_keys=api_keys if auth.api_keys else None,
    )
