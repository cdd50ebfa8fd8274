"""What is allowed in `[auth]`, but probably a mistake: rules that never apply, and writing without a password."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ociserver._core import is_repository, is_tag
from ociserver.auth.patterns import Pattern
from ociserver.config.auth import Auth, AuthRule
from ociserver.config.lines import Key

__all__ = ["Lint", "lints"]

_REPOSITORY_BEGINS: Final = re.compile(r"[a-z0-9][a-z0-9._/-]*|")
_TAG_BEGINS: Final = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]*|")
_PUBLIC_ISSUERS: Final = frozenset(
    {
        "https://token.actions.githubusercontent.com",
        "https://gitlab.com",
        "https://accounts.google.com",
        "https://agent.buildkite.com",
    }
)
"""Issuers of tokens for anybody who has an account there, for any audience."""

_NO_USERS: Final = "never applies, because nobody can sign in; add [auth.htpasswd], or remove the rule"


@dataclass(frozen=True, slots=True)
class Lint:
    """Something that is probably a mistake.

    Args:
        at: the keys that lead to it.
        text: what is odd about it. It repeats no value of the file.
    """

    at: tuple[Key, ...]
    text: str


def lints(auth: Auth, users: Collection[str] | None) -> Iterator[Lint]:
    """What is probably a mistake in the table `[auth]`.

    Args:
        auth: the table.
        users: the names in the file of passwords. None: there is no such file, or it cannot be read.
    """
    if auth.is_closed and users is not None:
        yield from _strangers(auth, users)
    yield from _shadowed(auth, users or ())
    public = [
        name
        for name, provider in (auth.oidc or {}).items()
        if provider.issuer in _PUBLIC_ISSUERS and not provider.require
    ]
    for number, rule in enumerate(auth.rules):
        at = ("auth", "rules", number)
        yield from _public_writes(rule, at)
        yield from _public_users(rule, at, public)
        yield from _impossible(rule.repositories, (*at, "repositories"), "repository", _is_repository)
        yield from _impossible(rule.tags, (*at, "tags"), "tag", _is_tag)
        if auth.is_closed:
            yield from _nobody(auth, rule, at, users)


def _strangers(auth: Auth, users: Collection[str]) -> Iterator[Lint]:
    """Users of groups who cannot sign in."""
    for group, members in (auth.groups or {}).items():
        for number, user in enumerate(members):
            if user not in users:
                hint = "" if Pattern(user).is_literal else "; it is compared as a name, and not as a pattern"
                yield Lint(("auth", "groups", group, number), f"is not a user of the file of passwords{hint}")


def _public_writes(rule: AuthRule, at: tuple[Key, ...]) -> Iterator[Lint]:
    if rule.anonymous:
        for number, action in enumerate(rule.allow):
            if action != "pull":
                yield Lint((*at, "allow", number), f"lets everybody {action} without signing in")


def _shadowed(auth: Auth, users: Collection[str]) -> Iterator[Lint]:
    """Users whose passwords are taken for tokens."""
    for name in auth.oidc or {}:
        if name in users:
            yield Lint(
                ("auth", "oidc", name), "has the name of a user of the file of passwords, who cannot sign in now"
            )


def _public_users(rule: AuthRule, at: tuple[Key, ...], providers: Sequence[str]) -> Iterator[Lint]:
    """Rules for everybody who has signed in, if anybody can, with an account at a public provider."""
    if not providers or rule.claims or rule.anonymous:
        return
    text = "is for everybody with an account at a public provider; add `require` to its table [auth.oidc.NAME]"
    if rule.authenticated:
        yield Lint((*at, "authenticated"), text)
    for number, pattern in enumerate(rule.users or ()):
        if any(Pattern(pattern).is_prefix and f"{name}:".startswith(Pattern(pattern).prefix) for name in providers):
            yield Lint((*at, "users", number), text)


def _impossible(
    patterns: Sequence[str] | None, at: tuple[Key, ...], what: str, is_possible: Callable[[Pattern], bool]
) -> Iterator[Lint]:
    for number, text in enumerate(patterns or ()):
        if not is_possible(Pattern(text)):
            yield Lint((*at, number), f"matches nothing: no {what} can have such a name")


def _is_repository(pattern: Pattern) -> bool:
    if pattern.is_literal:
        return is_repository(pattern.text)
    return _REPOSITORY_BEGINS.fullmatch(pattern.prefix) is not None


def _is_tag(pattern: Pattern) -> bool:
    if pattern.is_literal:
        return is_tag(pattern.text)
    return _TAG_BEGINS.fullmatch(pattern.prefix) is not None


def _nobody(auth: Auth, rule: AuthRule, at: tuple[Key, ...], users: Collection[str] | None) -> Iterator[Lint]:
    """Parts of a rule that select nobody."""
    if not auth.has_users:
        if not rule.anonymous:
            yield Lint(at, _NO_USERS)
        return
    for number, text in enumerate(rule.users or ()):
        if users is not None and not any(map(Pattern(text).matches, users)):
            yield Lint((*at, "users", number), "matches no user of the file of passwords")
    groups = {group for group, members in (auth.groups or {}).items() if members}
    for number, text in enumerate(rule.groups or ()):
        if not any(map(Pattern(text).matches, groups)):
            yield Lint((*at, "groups", number), "matches no group of [auth.groups] that has users")
