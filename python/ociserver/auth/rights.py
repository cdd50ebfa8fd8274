"""What rules allow one identity, compiled so that a decision costs no more because there are many rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from ociserver.api_keys import ApiKey
from ociserver.auth.actions import ACTIONS, Action
from ociserver.auth.patterns import Patterns
from ociserver.auth.rule import Rule

__all__ = ["EVERYTHING", "Allowed", "OwnRights", "Rights"]


@dataclass(frozen=True, slots=True)
class Allowed:
    """Where an identity may do one action."""

    anywhere: Patterns
    """The repositories of rules without tags."""
    limited: tuple[tuple[Patterns, Patterns], ...]
    """The repositories and tags of rules with tags."""

    def matches(self, repository: str, tag: str | None, *, without_tag: bool) -> bool:
        """Whether it is allowed in a repository. `without_tag`: whether rules with tags allow it if no tag is named."""
        if self.anywhere.matches(repository):
            return True
        for repositories, tags in self.limited:
            if repositories.matches(repository) and (without_tag if tag is None else tags.matches(tag)):
                return True
        return False

    def matches_some_tag(self, repository: str) -> bool:
        return self.matches(repository, None, without_tag=True)


@dataclass(frozen=True, slots=True)
class Rights:
    """What all rules together allow an identity."""

    allowed: Mapping[Action, Allowed]
    prefixes: tuple[str, ...]

    @classmethod
    def of(cls, rules: Sequence[Rule]) -> Self:
        """The rights of an identity that all of these rules are for."""
        allowed = {action: _allowed([rule for rule in rules if action in rule.actions]) for action in ACTIONS}
        return cls(
            {action: each for action, each in allowed.items() if each is not None},
            _distinct(
                pattern.prefix for rule in rules if "pull" in rule.actions for pattern in rule.for_repositories.patterns
            ),
        )


@dataclass(frozen=True, slots=True)
class OwnRights:
    """The rights of an identity that no other rules are for.

    Args:
        rule: what it may do.
        rights: the same, compiled.
        key: the API key that has them.
    """

    rule: Rule
    rights: Rights
    key: ApiKey


_ANYWHERE: Final = Allowed(Patterns.of(["*"]), ())
EVERYTHING: Final = Rights(dict.fromkeys(ACTIONS, _ANYWHERE), ("",))
"""The rights of an identity that may do everything."""


def _allowed(rules: Sequence[Rule]) -> Allowed | None:
    """Where rules allow an action that all of them have."""
    if not rules:
        return None
    # Several rules often have the same tags, such as `v*`. Together they cost less.
    limited: dict[tuple[str, ...], tuple[Patterns, list[Rule]]] = {}
    for rule in rules:
        if rule.for_tags is not None:
            limited.setdefault(rule.for_tags.texts, (rule.for_tags, []))[1].append(rule)
    return Allowed(
        _repositories(rule for rule in rules if rule.for_tags is None),
        tuple((_repositories(same), tags) for tags, same in limited.values()),
    )


def _repositories(rules: Iterable[Rule]) -> Patterns:
    return Patterns(pattern for rule in rules for pattern in rule.for_repositories.patterns)


def _distinct(prefixes: Iterable[str]) -> tuple[str, ...]:
    """Sorted, without those that begin with another one."""
    kept: list[str] = []
    for prefix in sorted(prefixes):
        # Whatever is between a prefix and a longer one in order begins with the prefix too.
        if not (kept and prefix.startswith(kept[-1])):
            kept.append(prefix)
    return tuple(kept)
