"""Who may do what: the only place that decides.

What no rule allows is denied. The rights of an identity are the union of those of all rules that are for it, in any
order. A token narrows them: a request needs the rules and the token.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from ociserver.auth.claim_patterns import texts_of
from ociserver.auth.identity import CATALOG, Action, Identity
from ociserver.auth.rights import EVERYTHING, Rights
from ociserver.auth.rule import Rule

__all__ = ["MAX_IDENTITIES", "Explanation", "Rule", "Rules"]

MAX_IDENTITIES: Final = 1024
"""Maximum identities whose rights are kept. For another one, every rule is asked whom it is for."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a request is allowed or denied.

    Args:
        is_allowed: what `Rules.allows` says.
        is_permitted: whether the token of the request may be used for it; True without a token.
        groups: all groups of the identity, in order.
        allowing: the numbers of the rules that allow the request. The first rule has the number 1.
        others: for each other rule, by number: the first reason why it does not allow the request.
    """

    is_allowed: bool
    is_permitted: bool
    groups: tuple[str, ...]
    allowing: tuple[int, ...]
    others: Mapping[int, str]


class Rules:
    """Decides who may do what. It does not change and does no input or output; any thread may call it.

    It does not look at the age of an identity (`Identity.expires`). The code that makes identities does.

    Args:
        rules: all rules.
        groups: the users of each group of the configuration: names, and not patterns. They are looked up at each
            request: a user who is removed from a group loses its rights at once, whatever a token says.
        unlimited: `Identity.via` of identities whose tokens decide alone: they may do all that they are granted.
            Nothing of this kind without a token. "": there are none.

    Raises:
        ValueError: a group has a user without a name. A client without credentials would be in the group.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        groups: Mapping[str, Collection[str]] | None = None,
        *,
        unlimited: str = "",
    ) -> None:
        self.rules: Final = tuple(rules)
        self._unlimited = unlimited
        self._by_claims = tuple((number, rule.for_claims) for number, rule in enumerate(rules) if rule.claims)
        self._claim_names = frozenset(name for _, patterns in self._by_claims for name in patterns)
        self._groups: dict[str, frozenset[str]] = {}
        for group, users in (groups or {}).items():
            if isinstance(users, str) or not all((group, *users)):
                raise ValueError("a group and its users must have names")
            for user in users:
                self._groups[user] = self._groups.get(user, frozenset()) | {group}
        self._rights = lru_cache(MAX_IDENTITIES)(self._rights_of)

    def allows(self, identity: Identity, action: Action, repository: str, tag: str | None = None) -> bool:
        """Whether an identity may do something: its token permits it, and a rule allows it.

        Args:
            identity: who asks.
            action: what. A push that would move a tag needs `push`, any other push needs `create`.
            repository: where.
            tag: the tag that the request names; None for blobs, uploads and manifests by digest.
        """
        return identity.permits(action, repository) and self.policy_allows(identity, action, repository, tag)

    def policy_allows(self, identity: Identity, action: Action, repository: str, tag: str | None = None) -> bool:
        """Whether a rule allows something, see `allows`, whatever the token of the request may be used for.

        If so, and `allows` says no, the client may ask for another token (RFC 6750, 3.1: `insufficient_scope`).
        """
        allowed = self._of(identity).allowed.get(action)
        if allowed is None or repository == CATALOG:
            return False
        return allowed.matches(repository, tag, without_tag=action != "delete")

    def granted(self, identity: Identity, repository: str) -> frozenset[str]:
        """The actions of a token (`pull`, `push`, `delete`) that rules allow for some tag of a repository.

        `push` is for those who may create too: the rules decide at the request whether a tag may be moved.
        """
        if repository == CATALOG:
            return frozenset()
        return frozenset(
            "push" if action == "create" else action
            for action, allowed in self._of(identity).allowed.items()
            if allowed.matches_some_tag(repository)
        )

    def lists(self, identity: Identity, repository: str) -> bool:
        """Whether the list of repositories shows a repository: rules allow to pull some tag of it.

        What a token may be used for in the repository does not matter.
        """
        return "pull" in self.granted(identity, repository)

    def may_pull_anything(self, identity: Identity) -> bool:
        """Whether rules allow to pull from any repository, which need not exist."""
        return bool(self.prefixes(identity))

    def pulls_every_tag(self, identity: Identity, repository: str) -> bool:
        """Whether a rule without tags allows to pull, so that tags need not be looked at one by one."""
        allowed = self._of(identity).allowed.get("pull")
        return allowed is not None and repository != CATALOG and allowed.anywhere.matches(repository)

    def prefixes(self, identity: Identity) -> tuple[str, ...]:
        """Beginnings of names: every repository that `lists` shows begins with exactly one of them.

        They are sorted, and none begins with another. "" is every name; without a prefix there is no repository to
        show. Not every repository that begins with one of them is shown.
        """
        return self._of(identity).prefixes

    def explain(self, identity: Identity, action: Action, repository: str, tag: str | None = None) -> Explanation:
        """Why `allows` says what it says. It asks every rule, so it is slower.

        An identity with rights of its own has one rule, with the number 1.
        """
        groups = self._groups_of(identity.name, identity.groups)
        reasons = {
            number: rule.why_not(identity.name, groups, identity.claims, action, repository, tag)
            for number, rule in enumerate(self.rules if identity.own is None else [identity.own.rule], 1)
        }
        return Explanation(
            self.allows(identity, action, repository, tag),
            identity.permits(action, repository),
            tuple(sorted(groups)),
            tuple(number for number, reason in reasons.items() if not reason),
            {number: reason for number, reason in reasons.items() if reason},
        )

    def claims_of(self, identity: Identity) -> dict[str, list[str]]:
        """The claims of an identity that rules use: what a token of it has to say, so that they decide the same.

        Only what can match is in them, and in the form in which it is compared.
        """
        texts = {name: texts_of(identity.claims.get(name)) for name in self._claim_names}
        return {name: values for name, values in texts.items() if values}

    def _groups_of(self, user: str, groups: frozenset[str]) -> frozenset[str]:
        """All groups of an identity. A client without credentials has none."""
        return groups | self._groups.get(user, frozenset()) if user else frozenset()

    def _of(self, identity: Identity) -> Rights:
        if identity.own is not None:
            return identity.own.rights
        if self._unlimited and identity.via == self._unlimited and identity.grants is not None:
            return EVERYTHING
        return self._rights(identity.name, identity.groups, self._matching(identity.claims))

    def _matching(self, claims: Mapping[str, Any]) -> frozenset[int]:
        """The rules whose claims match, by index. Rights are kept by these: the claims of two tokens often differ."""
        if not claims or not self._by_claims:
            return _NO_RULES
        return frozenset(number for number, patterns in self._by_claims if patterns.matches(claims))

    def _rights_of(self, user: str, groups: frozenset[str], matching: frozenset[int]) -> Rights:
        every = self._groups_of(user, groups)
        mine = [
            rule
            for number, rule in enumerate(self.rules)
            if rule.is_for(user, every) and (not rule.claims or number in matching)
        ]
        return Rights.of(mine)


_NO_RULES: Final[frozenset[int]] = frozenset()
