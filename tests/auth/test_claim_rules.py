"""Rules about claims of identity providers."""

from __future__ import annotations

from typing import Any, Final

import pytest

from ociserver.auth.claim_patterns import MAX_TEXT, MAX_VALUES, ClaimPatterns
from ociserver.auth.identity import Identity
from ociserver.auth.rules import Rule, Rules

MAIN: Final = Rule(
    users=("ci:*",), claims={"ref": "refs/heads/main", "org": "o*"}, repositories=("team/*",), allow=("push",)
)
PULL: Final = Rule(users=("ci:*",), repositories=("team/*",), allow=("pull",))
TAGS: Final = Rule(authenticated=True, claims={"ref": "refs/tags/*"}, repositories=("tags/*",), allow=("push",))


def job(user: str = "ci:a", /, **claims: Any) -> Identity:
    return Identity(user, via="oidc", claims=claims)


def pushes(identity: Identity, *rules: Rule, to: str = "team/a") -> bool:
    return Rules(rules or (PULL, MAIN, TAGS)).allows(identity, "push", to, "v1")


@pytest.mark.parametrize(
    "claim, pattern, matches",
    [
        ("main", "main", True),
        ("main", "m*", True),
        ("Main", "main", False),
        ("main2", "main", False),
        ("", "*", True),
        (None, "*", False),
        (5, "5", True),
        (5.0, "5*", False),
        (True, "true", True),
        (True, "1", False),
        (False, "false", True),
        (["a", "main"], "main", True),
        (["a", 5], "5", True),
        ([], "*", False),
        ([None, {}], "*", False),
        ([["main"]], "main", False),
        ({"main": "main"}, "*", False),
        ("x" * MAX_TEXT, "x*", True),
        ("x" * (MAX_TEXT + 1), "x*", False),
        (["a"] * MAX_VALUES + ["b"], "b", False),
    ],
)
def test_a_claim_and_a_pattern(claim: Any, pattern: str, matches: bool) -> None:  # noqa: FBT001
    assert ClaimPatterns({"x": pattern}).matches({"x": claim}) is matches
    assert ClaimPatterns({"x": pattern}).matches({"y": claim}) is False


@pytest.mark.parametrize("patterns", [{"": "a"}, {"a": ""}, {"a": "[z-a]"}])
def test_patterns_that_are_wrong(patterns: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"must have a name|a pattern"):
        ClaimPatterns(patterns)


def test_all_claims_must_match_and_the_user_too() -> None:
    assert pushes(job(ref="refs/heads/main", org="org"))
    assert not pushes(job(ref="refs/heads/main"))
    assert not pushes(job(ref="refs/heads/main", org="p"))
    assert not pushes(job(ref="refs/heads/x", org="org"))
    assert not pushes(job())
    # The claims of another provider, and a user without a provider.
    assert not pushes(job("other:a", ref="refs/heads/main", org="org"))
    assert not pushes(Identity("ci:a"))


def test_every_action_of_a_rule_depends_on_its_claims() -> None:
    rules = Rules([PULL, MAIN])
    for identity, granted in ((job(), {"pull"}), (job(ref="refs/heads/main", org="o"), {"pull", "push"})):
        assert rules.granted(identity, "team/a") == granted
    assert rules.prefixes(job()) == ("team/",)
    only = Rules([Rule(users=("ci:*",), claims={"x": "1"}, repositories=("*",), allow=("pull",))])
    assert only.prefixes(job()) == ()
    assert not only.lists(job(), "a")
    assert not only.pulls_every_tag(job(), "a")
    assert only.pulls_every_tag(job(x=1), "a")


def test_rights_are_not_kept_by_the_name_alone() -> None:
    rules = Rules([PULL, MAIN, TAGS])
    for _ in range(2):
        assert rules.allows(job(ref="refs/heads/main", org="o"), "push", "team/a", "v1")
        assert not rules.allows(job(ref="refs/tags/1", org="o"), "push", "team/a", "v1")
        assert rules.allows(job(ref="refs/tags/1", org="o"), "push", "tags/a", "v1")
        assert not rules.allows(job(org="o"), "push", "tags/a", "v1")


def test_the_claims_that_rules_use() -> None:
    identity = job(ref="r", org=5, other="x", list=["a"])
    assert Rules([PULL, MAIN, TAGS]).claims_of(identity) == {"ref": ["r"], "org": ["5"]}
    assert Rules([PULL]).claims_of(identity) == {}
    # They decide the same when they come back.
    kept = Rules([MAIN]).claims_of(job(ref="refs/heads/main", org="o", other="x"))
    assert pushes(Identity("ci:a", via="oidc", claims=kept))


@pytest.mark.parametrize(
    "settings, words",
    [
        ({}, "`claims` alone"),
        ({"anonymous": True}, "exclude each other"),
        ({"anonymous": True, "users": ("*",)}, "exclude each other"),
    ],
)
def test_claims_do_not_select(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Rule(claims={"a": "b"}, repositories=("*",), allow=("pull",), **settings)


def test_why_a_rule_does_not_apply() -> None:
    found = Rules([MAIN]).explain(job(ref="x"), "push", "team/a", "v1")
    assert not found.is_allowed
    assert found.others == {1: "is only for the claims ref = refs/heads/main, org = o*"}


def test_tokens_that_decide_alone_do_so_for_their_own_kind_only() -> None:
    rules = Rules([], unlimited="token-server")
    grants = {"team/a": frozenset({"push"})}
    mine = Identity("a", via="token-server", grants=grants)
    assert rules.allows(mine, "push", "team/a", "v1")
    assert not rules.allows(mine, "pull", "team/a", "v1")
    assert not rules.allows(mine, "push", "team/b", "v1")
    for other in (Identity("a", via="htpasswd", grants=grants), Identity("a", via="token-server"), Identity("a")):
        assert not rules.allows(other, "push", "team/a", "v1")
    assert not Rules([]).allows(Identity("a", via="", grants=grants), "push", "team/a", "v1")
