"""One rule: which identities may do what, in which repositories, with which tags."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Final

from ociserver.auth.actions import ACTIONS, Action
from ociserver.auth.claim_patterns import ClaimPatterns
from ociserver.auth.patterns import Patterns

__all__ = ["Rule"]

_NOT_EMPTY: Final = ("repositories", "allow", "tags")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Allows some identities to do something. A rule never forbids: what no rule allows is denied.

    At least one of `users`, `groups`, `authenticated` and `anonymous` is needed. An identity that one of them selects
    has the rights of the rule.

    Args:
        repositories: patterns of the repositories.
        allow: the actions. `push` includes `create`; apart from that, no action includes another.
        users: patterns of names of users. None of them matches a client without credentials, not even `*`.
        groups: patterns of names of groups.
        authenticated: the rule is for everybody who has signed in.
        anonymous: the rule is for everybody, with and without credentials: who signs in loses no right.
        tags: patterns of the tags that the rule is limited to. None: no limit. Requests that name no tag (for blobs,
            uploads, and manifests by digest) may pull and push whatever the tags are, because the contents of a tag
            must be readable and writable. To delete a manifest by digest, which deletes all tags that refer to it,
            needs a rule without `tags`.
        claims: patterns of claims of an identity provider, which limit the rule to identities that match all of them.
            They select nobody on their own, and so `users`, `groups` or `authenticated` says whose claims they are.

    Raises:
        ValueError: the rule selects nobody, has an empty list or an unknown action, or a text that is not a pattern, or
            limits everybody by claims.
    """

    repositories: tuple[str, ...]
    allow: tuple[Action, ...]
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    authenticated: bool = False
    anonymous: bool = False
    tags: tuple[str, ...] | None = None
    claims: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for each in fields(self):
            if isinstance(getattr(self, each.name), str):
                # Its characters would become patterns. A `*` among them allows everything.
                raise ValueError(f"`{each.name}` must not be a single text")
        if self.claims and self.anonymous:
            raise ValueError("`claims` and `anonymous = true` exclude each other: who has not signed in has no claims")
        if self.claims and not (self.users or self.groups or self.authenticated):
            raise ValueError(
                "`claims` alone would count from every identity provider: add the users that they are about, such as "
                'users = ["github:*"]'
            )
        if not (self.users or self.groups or self.authenticated is True or self.anonymous is True):
            raise ValueError("selects nobody: set `users`, `groups`, `authenticated = true` or `anonymous = true`")
        for name in _NOT_EMPTY:
            if getattr(self, name) is not None and not getattr(self, name):
                raise ValueError(f"`{name}` is empty, so the rule allows nothing")
        if not set(self.allow) <= set(ACTIONS):
            raise ValueError(f"`allow` has an unknown action; the actions are {', '.join(ACTIONS)}")
        # Compiled now, so that a mistake is found now, and no request waits for it.
        _ = self.for_users, self.for_groups, self.for_repositories, self.for_tags, self.for_claims

    @cached_property
    def for_users(self) -> Patterns:
        """`users`, compiled."""
        return Patterns.of(self.users)

    @cached_property
    def for_groups(self) -> Patterns:
        """`groups`, compiled."""
        return Patterns.of(self.groups)

    @cached_property
    def for_repositories(self) -> Patterns:
        """`repositories`, compiled."""
        return Patterns.of(self.repositories)

    @cached_property
    def for_tags(self) -> Patterns | None:
        """`tags`, compiled."""
        return None if self.tags is None else Patterns.of(self.tags)

    @cached_property
    def for_claims(self) -> ClaimPatterns:
        """`claims`, compiled. Without any, all claims match."""
        return ClaimPatterns(self.claims)

    @cached_property
    def actions(self) -> frozenset[Action]:
        """`allow`, with what its actions include."""
        return frozenset((*self.allow, "create") if "push" in self.allow else self.allow)

    def is_for(self, user: str, groups: Collection[str]) -> bool:
        """Whether the rule selects an identity, as far as its names say: `for_claims` decides too.

        Args:
            user: its name; "" without credentials.
            groups: all its groups.
        """
        if self.anonymous:
            return True
        if not user:
            return False
        return self.authenticated or self.for_users.matches(user) or any(map(self.for_groups.matches, groups))

    def why_not(
        self,
        user: str,
        groups: Collection[str],
        claims: Mapping[str, Any],
        action: Action,
        repository: str,
        tag: str | None,
    ) -> str:
        """The first reason why the rule does not allow a request, in words; "" if it allows the request."""
        if not self.is_for(user, groups):
            return f"is only for {self._whom()}" if user else "is not for clients without credentials"
        if not self.for_claims.matches(claims):
            return f"is only for the claims {self.for_claims}"
        if action not in self.actions:
            return f"allows only {_listed(self.allow)}"
        if not self.for_repositories.matches(repository):
            return f"is only for the repositories {_listed(self.repositories)}"
        if self.tags is None or self.for_tags is None:
            return ""
        if tag is None and action == "delete":
            return f"is only for the tags {_listed(self.tags)}, and a manifest is deleted with all its tags"
        if tag is not None and not self.for_tags.matches(tag):
            return f"is only for the tags {_listed(self.tags)}"
        return ""

    def _whom(self) -> str:
        if self.authenticated:
            return "everybody who has signed in"
        selected = (("users", self.users), ("groups", self.groups))
        return " and ".join(f"the {what} {_listed(texts)}" for what, texts in selected if texts)


def _listed(texts: Sequence[str]) -> str:
    return ", ".join(texts)
