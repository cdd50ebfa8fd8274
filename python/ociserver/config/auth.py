"""The table `[auth]`: who may sign in, and who may do what."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema
from pydantic.config import JsonDict

from ociserver.auth import auth as auth_package
from ociserver.auth.hashing import usable_threads
from ociserver.auth.identity import Action
from ociserver.auth.keys import TokenKeys, parse_key
from ociserver.auth.patterns import MAX_PATTERN, Pattern
from ociserver.auth.rules import Rule, Rules
from ociserver.auth.tokens import LIFETIME_S, MAX_LIFETIME_S, MIN_LIFETIME_S
from ociserver.config.values import Duration, File, Flag, Part, Text, Url
from ociserver.units import parse_duration

__all__ = ["Auth", "AuthRule", "Htpasswd", "auth_of", "rules_of"]

_EXAMPLE: Final = 'authenticated = true, repositories = ["*"], allow = ["pull", "push"]'


def _pattern(text: str) -> str:
    Pattern(text)
    return text


def _name(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        # Python's own message repeats the text.
        raise ValueError('must be an address or a network, such as "10.0.0.0/8", without host bits') from None
    return text


def _lifetime(text: str) -> str:
    if not MIN_LIFETIME_S <= parse_duration(text) <= MAX_LIFETIME_S:
        raise ValueError(f"must be {MIN_LIFETIME_S:.0f} s to {MAX_LIFETIME_S / 3600:.0f} h")
    return text


def _keys(texts: list[str]) -> list[str]:
    TokenKeys([parse_key(text, f"key {number}") for number, text in enumerate(texts, 1)])
    return texts


def _with(name: str, value: Any) -> JsonDict:
    return {"properties": {name: value}, "required": [name]}


NamePattern = Annotated[
    str,
    AfterValidator(_pattern),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_PATTERN}),
]
"""A pattern of names. Its syntax is that of `ociserver.auth.patterns`."""

NamePatterns = Annotated[list[NamePattern], Field(min_length=1)]

Name = Annotated[str, AfterValidator(_name), WithJsonSchema({"type": "string", "minLength": 1})]
"""The name of a group or of a user."""

Network = Annotated[
    str,
    AfterValidator(_network),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"}),
]
"""An IP address or a network in CIDR notation."""


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
                _with("anonymous", {"const": True}),
            ]
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
        )


@dataclass(frozen=True, kw_only=True)
class Auth(Part):
    """The table `[auth]`: who may sign in, and who may do what. Without it, everybody may do everything."""

    __pydantic_config__: ClassVar[ConfigDict] = Part.__pydantic_config__ | ConfigDict(
        json_schema_extra={
            "required": ["rules"],
            "anyOf": [
                {"required": ["htpasswd"]},
                _with("rules", {"contains": _with("anonymous", {"const": True})}),
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
    tokens."""
    trusted_proxies: list[Network] | None = None
    """Addresses or networks of the proxies whose X-Forwarded headers are believed. By default none."""
    htpasswd: Htpasswd | None = None
    """The users of a file of passwords."""
    groups: dict[Name, list[Name]] | None = None
    """The users of each group. A change has effect on tokens that exist."""
    rules: Annotated[list[AuthRule], Field(json_schema_extra={"minItems": 1})] = field(default_factory=list)
    """Who may do what. What no rule allows is denied."""

    def __post_init__(self) -> None:
        if not self.rules:
            raise ValueError(f"has no rules, so nobody may do anything; add [[auth.rules]] with {_EXAMPLE}")
        if not self.has_users and not any(rule.anonymous for rule in self.rules):
            raise ValueError(
                "nobody can sign in, and no rule is for clients without credentials, so nobody may do anything; add "
                '[auth.htpasswd] with file = "htpasswd", or a rule with anonymous = true'
            )

    @property
    def has_users(self) -> bool:
        """Whether there is a way to sign in."""
        return self.htpasswd is not None

    @property
    def is_closed(self) -> bool:
        """Whether this file and the file of passwords name all users and all groups: no other service does."""
        return True


def rules_of(auth: Auth) -> Rules:
    """The rules of the table, for requests."""
    return Rules([rule.built() for rule in auth.rules], auth.groups or {})


def auth_of(auth: Auth, kept_keys: Callable[[], TokenKeys], processes: int) -> auth_package.Auth:
    """What the table describes, for a handler.

    Args:
        auth: the table.
        kept_keys: the keys of tokens if the table has none.
        processes: that serve the same registry on this machine.

    Raises:
        ValueError: the file of users or a key is wrong.
        OSError: the file with the key cannot be used.
        ImportError: the packages for password hashes are not installed.
    """
    return auth_package.Auth(
        rules_of(auth),
        htpasswd=None if auth.htpasswd is None else auth.htpasswd.file,
        token_keys=kept_keys() if auth.token_keys is None else TokenKeys([parse_key(key) for key in auth.token_keys]),
        token_lifetime_s=LIFETIME_S if auth.token_lifetime is None else parse_duration(auth.token_lifetime),
        service=auth_package.SERVICE if auth.service is None else auth.service,
        realm=auth.realm,
        trusted_proxies=auth.trusted_proxies or (),
        hashing_threads=usable_threads(processes),
    )
