"""Rules: a table of requests with their decisions, derived by hand from the docstring of `Rule`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import pytest

from ociserver.auth.identity import ANONYMOUS, CATALOG, Action, Grants, Identity
from ociserver.auth.rules import MAX_IDENTITIES, Rule, Rules

ALICE: Final = Identity("alice", via="htpasswd")
BOB: Final = Identity("bob", via="htpasswd")
YES: Final = True
NO: Final = False


def rule(repositories: str, allow: str, **more: Any) -> Rule:
    """A rule for everybody, unless `more` says for whom."""
    selects = more if more.keys() & {"users", "groups", "authenticated", "anonymous"} else {"anonymous": True, **more}
    actions: Any = tuple(allow.split())
    return Rule(repositories=tuple(repositories.split()), allow=actions, **selects)


class Row(NamedTuple):
    """Requests of one identity, and whether they are allowed."""

    rules: Sequence[Rule]
    identity: Identity
    decisions: Mapping[tuple[Any, ...], bool]


def token(**access: str) -> Identity:
    """Alice with a token. A name has `_` for `/`."""
    grants: Grants = {name.replace("_", "/"): frozenset(actions.split()) for name, actions in access.items()}
    return Identity("alice", via="htpasswd", grants=grants)


PULL_ALL = rule("*", "pull")
TABLE: Final = {
    "nothing is allowed by default": Row([], ALICE, {("pull", "a"): NO, ("delete", "a", "v1"): NO}),
    "everything may be allowed": Row(
        [rule("*", "pull push delete")],
        ANONYMOUS,
        {
            ("pull", "a"): YES,
            ("pull", "a/b", "v1"): YES,
            ("push", "a", "v1"): YES,
            ("create", "a", "v1"): YES,
            ("delete", "a", "v1"): YES,
            ("delete", "a"): YES,
        },
    ),
    # Who is selected.
    "a user": Row([rule("*", "pull", users=("alice",))], ALICE, {("pull", "a"): YES, ("push", "a"): NO}),
    "another user": Row([rule("*", "pull", users=("alice",))], BOB, {("pull", "a"): NO}),
    "a user whose name is longer": Row([rule("*", "pull", users=("ali",))], ALICE, {("pull", "a"): NO}),
    "a user in other case": Row([rule("*", "pull", users=("Alice",))], ALICE, {("pull", "a"): NO}),
    "a pattern of users": Row([rule("*", "pull", users=("x", "al*"))], ALICE, {("pull", "a"): YES}),
    "any user": Row([rule("*", "pull", users=("*",))], BOB, {("pull", "a"): YES}),
    "CVE-2026-27771: anonymous is not any user": Row(
        [
            rule("*", "pull push delete", users=("*",)),
            rule("*", "pull push delete", users=("*", "?*", "[!x]*")),
            rule("*", "pull push delete", groups=("*",)),
            rule("*", "pull push delete", authenticated=True),
        ],
        ANONYMOUS,
        {("pull", "a"): NO, ("push", "a", "v1"): NO, ("delete", "a"): NO},
    ),
    "anonymous has no groups, whatever it says": Row(
        [rule("*", "pull", groups=("*",))], Identity("", frozenset({"team"})), {("pull", "a"): NO}
    ),
    "who has signed in": Row([rule("*", "pull", authenticated=True)], ALICE, {("pull", "a"): YES}),
    "who signs in keeps what everybody may": Row([rule("*", "pull", anonymous=True)], ALICE, {("pull", "a"): YES}),
    "any selector is enough": Row(
        [rule("*", "pull", users=("zoe",), groups=("no",), authenticated=True)], ALICE, {("pull", "a"): YES}
    ),
    "a group of the sign-in": Row(
        [rule("*", "pull", groups=("team-*",))], Identity("x", frozenset({"team-a"})), {("pull", "a"): YES}
    ),
    "another group": Row(
        [rule("*", "pull", groups=("team",))], Identity("x", frozenset({"teams"})), {("pull", "a"): NO}
    ),
    "a user is not a group": Row([rule("*", "pull", groups=("alice",))], ALICE, {("pull", "a"): NO}),
    "a group is not a user": Row(
        [rule("*", "pull", users=("team",))], Identity("x", frozenset({"team"})), {("pull", "a"): NO}
    ),
    # Which actions.
    "pull alone": Row(
        [PULL_ALL],
        ALICE,
        {("pull", "a", "v1"): YES, ("push", "a", "v1"): NO, ("create", "a", "v1"): NO, ("delete", "a", "v1"): NO},
    ),
    "push includes create, and nothing else": Row(
        [rule("*", "push")],
        ALICE,
        {("push", "a", "v1"): YES, ("create", "a", "v1"): YES, ("pull", "a", "v1"): NO, ("delete", "a", "v1"): NO},
    ),
    "CVE-2026-31801: create does not move tags": Row(
        [rule("*", "create")],
        ALICE,
        {
            ("create", "a", "v1"): YES,
            ("create", "a"): YES,
            ("push", "a", "v1"): NO,
            ("push", "a", "latest"): NO,
            ("pull", "a"): NO,
        },
    ),
    "delete alone": Row(
        [rule("*", "delete")],
        ALICE,
        {("delete", "a"): YES, ("delete", "a", "v1"): YES, ("pull", "a"): NO, ("push", "a"): NO, ("create", "a"): NO},
    ),
    "CVE-2026-61833: push does not delete": Row(
        [rule("*", "pull push create")], ALICE, {("delete", "a"): NO, ("delete", "a", "v1"): NO}
    ),
    "an action that nobody knows": Row([rule("*", "pull push delete")], ALICE, {("admin", "a"): NO, ("*", "a"): NO}),
    # Where.
    "CVE-2019-12825: one repository is no other": Row(
        [rule("a/b", "pull push delete")],
        ALICE,
        {
            ("pull", "a/b"): YES,
            ("pull", "a/bc"): NO,
            ("pull", "a/b/c"): NO,
            ("pull", "A/B"): NO,
            ("pull", "a%2Fb"): NO,
            ("pull", "a//b"): NO,
            ("pull", "a/b/"): NO,
            ("pull", "a"): NO,
            ("push", "a/bc", "v1"): NO,
            ("delete", "a/b/c", "v1"): NO,
        },
    ),
    "CVE-2019-12825: a token for one repository is for no other": Row(
        [rule("*", "pull push delete")],
        token(a_b="pull push delete"),
        {
            ("pull", "a/b"): YES,
            ("delete", "a/b", "v1"): YES,
            ("pull", "a/bc"): NO,
            ("pull", "a/b/c"): NO,
            ("pull", "A/B"): NO,
            ("pull", "a%2Fb"): NO,
            ("pull", "a//b"): NO,
            ("push", "a/bc", "v1"): NO,
        },
    ),
    "everything below": Row(
        [rule("a/*", "pull")],
        ALICE,
        {("pull", "a/b"): YES, ("pull", "a/b/c"): YES, ("pull", "a"): NO, ("pull", "ab/c"): NO, ("pull", "x/a/b"): NO},
    ),
    "several patterns": Row(
        [rule("a b/* *-c", "pull")],
        ALICE,
        {("pull", "a"): YES, ("pull", "b/x"): YES, ("pull", "x/y-c"): YES, ("pull", "b"): NO, ("pull", "c"): NO},
    ),
    "the list of repositories is not a repository": Row(
        [rule("*", "pull push delete")], ALICE, {("pull", CATALOG): NO, ("push", CATALOG): NO, ("delete", CATALOG): NO}
    ),
    # Which tags.
    "tags limit what names a tag": Row(
        [rule("*", "pull push delete", tags=("v*", "latest"))],
        ALICE,
        {
            ("pull", "a", "v1"): YES,
            ("pull", "a", "latest"): YES,
            ("pull", "a", "dev"): NO,
            ("pull", "a", "V1"): NO,
            ("pull", "a", "latest2"): NO,
            ("push", "a", "v1"): YES,
            ("push", "a", "dev"): NO,
            ("create", "a", "v1"): YES,
            ("create", "a", "dev"): NO,
            ("delete", "a", "v1"): YES,
            ("delete", "a", "dev"): NO,
        },
    ),
    "contents without a tag can be read and written": Row(
        [rule("*", "pull push delete", tags=("v*",))],
        ALICE,
        {("pull", "a"): YES, ("push", "a"): YES, ("create", "a"): YES},
    ),
    "a deletion by digest takes all tags, so it needs all of them": Row(
        [rule("*", "delete", tags=("*",)), rule("b", "delete")],
        ALICE,
        {("delete", "a"): NO, ("delete", "a", "v1"): YES, ("delete", "b"): YES},
    ),
    "tags of another repository do not count": Row(
        [rule("a", "push", tags=("v*",)), rule("b", "push", tags=("dev",))],
        ALICE,
        {
            ("push", "a", "v1"): YES,
            ("push", "b", "dev"): YES,
            ("push", "a", "dev"): NO,
            ("push", "b", "v1"): NO,
            ("push", "c"): NO,
        },
    ),
    "rules with the same tags do not lend each other actions": Row(
        [rule("a", "push", tags=("v*",)), rule("b", "pull", tags=("v*",))],
        ALICE,
        {("push", "a", "v1"): YES, ("pull", "b", "v1"): YES, ("push", "b", "v1"): NO, ("pull", "a", "v1"): NO},
    ),
    # Union.
    "rights add up": Row(
        [PULL_ALL, rule("a", "push", users=("alice",)), rule("a", "delete", tags=("tmp-*",))],
        ALICE,
        {
            ("pull", "b"): YES,
            ("push", "a", "v1"): YES,
            ("push", "b", "v1"): NO,
            ("delete", "a", "tmp-1"): YES,
            ("delete", "a", "v1"): NO,
            ("delete", "a"): NO,
        },
    ),
    # Tokens.
    "a token narrows": Row(
        [rule("*", "pull push delete")],
        token(a="pull", b="push"),
        {
            ("pull", "a", "v1"): YES,
            ("push", "a", "v1"): NO,
            ("delete", "a", "v1"): NO,
            ("push", "b", "v1"): YES,
            ("create", "b", "v1"): YES,
            ("pull", "b"): NO,
            ("pull", "c"): NO,
        },
    ),
    "a token never widens": Row(
        [rule("a", "pull")],
        token(a="pull push delete", b="pull"),
        {("pull", "a"): YES, ("push", "a"): NO, ("pull", "b"): NO},
    ),
    "a token without any scope": Row([rule("*", "pull push delete")], token(), {("pull", "a"): NO, ("push", "a"): NO}),
}


@pytest.mark.parametrize("name", TABLE)
def test_who_may_do_what(name: str) -> None:
    row = TABLE[name]
    rules = Rules(row.rules)
    assert {request: rules.allows(row.identity, *request) for request in row.decisions} == row.decisions


def test_groups_of_the_configuration_are_live() -> None:
    """An identity of a token keeps no group of the configuration: what counts is the group as it is now."""
    developers = [rule("*", "push", groups=("developers",))]
    identity = token(a="push")
    assert Rules(developers, {"developers": ["alice", "bob"]}).allows(identity, "push", "a", "v1")
    assert not Rules(developers, {"developers": ["bob"]}).allows(identity, "push", "a", "v1")
    assert not Rules(developers, {"operators": ["alice"]}).allows(identity, "push", "a", "v1")
    assert not Rules(developers).allows(identity, "push", "a", "v1")


def test_groups_of_the_configuration_and_of_the_sign_in_add_up() -> None:
    rules = Rules([rule("a", "pull", groups=("here",)), rule("b", "pull", groups=("there",))], {"here": ["alice"]})
    assert [rules.allows(Identity("alice", frozenset({"there"})), "pull", name) for name in ("a", "b", "c")] == [
        True,
        True,
        False,
    ]
    assert not rules.allows(Identity("bob", frozenset({"there"})), "pull", "a")


def test_users_of_groups_are_names_and_not_patterns() -> None:
    rules = Rules([rule("*", "pull", groups=("bots",))], {"bots": ["dependabot[bot]", "*"]})
    assert rules.allows(Identity("dependabot[bot]"), "pull", "a")
    assert not rules.allows(Identity("dependaboto"), "pull", "a")
    assert not rules.allows(ALICE, "pull", "a")
    assert not rules.allows(ANONYMOUS, "pull", "a")


@pytest.mark.parametrize("groups", [{"team": [""]}, {"": ["alice"]}, {"team": "alice"}])
def test_a_group_without_names(groups: Any) -> None:
    with pytest.raises(ValueError, match="must have names"):
        Rules([PULL_ALL], groups)


def test_what_the_rules_allow_but_the_token_does_not() -> None:
    rules = Rules([rule("a", "pull push")])
    asked: Sequence[tuple[Action, str]] = [("pull", "a"), ("push", "a"), ("delete", "a"), ("push", "b")]
    assert [rules.allows(token(a="pull"), *each) for each in asked] == [True, False, False, False]
    assert [rules.policy_allows(token(a="pull"), *each) for each in asked] == [True, True, False, False]


@pytest.mark.parametrize(
    "rules, granted",
    [
        ([rule("a", "pull")], {"pull"}),
        ([rule("a", "push")], {"push"}),
        ([rule("a", "create")], {"push"}),
        ([rule("a", "pull push delete")], {"pull", "push", "delete"}),
        ([rule("a", "pull"), rule("*", "delete", tags=("tmp",))], {"pull", "delete"}),
        ([rule("a", "create", tags=("v*",))], {"push"}),
        ([rule("b a/*", "pull push delete")], set()),
        ([rule("a", "pull", users=("bob",))], set()),
        ([], set()),
    ],
)
def test_what_a_token_can_be_given(rules: Sequence[Rule], granted: set[str]) -> None:
    """Whatever the token has that asks for another one."""
    assert Rules(rules).granted(ALICE, "a") == granted
    assert Rules(rules).granted(token(b="pull"), "a") == granted
    assert Rules(rules).granted(ALICE, CATALOG) == set()


@pytest.mark.parametrize(
    "rules, prefixes",
    [
        ([], ()),
        ([rule("a", "push delete create")], ()),
        ([rule("a", "pull")], ("a",)),
        ([rule("b/* a/*/c", "pull")], ("a/", "b/")),
        ([rule("a* ab ab/c b", "pull")], ("a", "b")),
        ([rule("a/b a/b-c a/bc", "pull", tags=("v*",))], ("a/b",)),
        ([rule("b", "pull"), rule("*/x", "pull")], ("",)),
        ([rule("[ab]", "pull")], ("",)),
        ([rule("a", "pull"), rule("b", "pull", users=("bob",))], ("a",)),
    ],
)
def test_the_prefixes_of_the_list_of_repositories(rules: Sequence[Rule], prefixes: tuple[str, ...]) -> None:
    assert Rules(rules).prefixes(ALICE) == prefixes
    assert Rules(rules).may_pull_anything(ALICE) == bool(prefixes)
    # A token for one repository may come with the right to list all of them.
    assert Rules(rules).prefixes(token(a="pull")) == prefixes


def test_what_the_list_of_repositories_shows() -> None:
    rules = Rules([rule("a", "pull"), rule("b", "pull", tags=("v*",)), rule("c", "push delete")])
    for identity in (ALICE, ANONYMOUS, token(x="pull")):
        assert [name for name in ("a", "b", "c", "d", CATALOG) if rules.lists(identity, name)] == ["a", "b"]
        assert [name for name in ("a", "b", "c", "d", CATALOG) if rules.pulls_every_tag(identity, name)] == ["a"]


def test_the_list_of_repositories_is_not_in_itself() -> None:
    rules = Rules([PULL_ALL])
    assert rules.lists(ALICE, "a")
    assert rules.pulls_every_tag(ALICE, "a")
    assert not rules.lists(ALICE, CATALOG)
    assert not rules.pulls_every_tag(ALICE, CATALOG)


def test_an_explanation_has_the_first_reason_of_each_rule() -> None:
    rules = Rules(
        [
            rule("b", "pull", users=("bob", "ci-*"), groups=("ops",)),
            rule("b", "push", authenticated=True),
            rule("b c/*", "pull delete"),
            rule("a", "delete", tags=("v*", "latest")),
            rule("a", "delete push", groups=("team",)),
        ],
        {"team": ["alice"], "other": ["alice"]},
    )
    explained = rules.explain(ALICE, "delete", "a", "dev")
    assert explained.is_allowed
    assert explained.is_permitted
    assert explained.groups == ("other", "team")
    assert explained.allowing == (5,)
    assert explained.others == {
        1: "is only for the users bob, ci-* and the groups ops",
        2: "allows only push",
        3: "is only for the repositories b, c/*",
        4: "is only for the tags v*, latest",
    }
    by_digest = rules.explain(ALICE, "delete", "a")
    assert by_digest.allowing == (5,)
    assert by_digest.others[4] == "is only for the tags v*, latest, and a manifest is deleted with all its tags"
    narrowed = rules.explain(token(a="pull"), "delete", "a")
    assert (narrowed.is_allowed, narrowed.is_permitted, narrowed.allowing) == (False, False, (5,))
    stranger = rules.explain(Identity("", frozenset({"ops"})), "push", "b")
    assert not stranger.is_allowed
    assert stranger.groups == ()
    assert [stranger.others[number] for number in (1, 2)] == ["is not for clients without credentials"] * 2
    assert rules.explain(BOB, "delete", "x").others[5] == "is only for the groups team"
    assert rules.explain(BOB, "pull", "x").others[2] == "allows only push"


def test_more_identities_than_are_kept() -> None:
    rules = Rules([rule("*", "pull", users=("user-1*",))])
    for _ in range(2):
        decisions = [rules.allows(Identity(f"user-{number}"), "pull", "a") for number in range(MAX_IDENTITIES + 100)]
        assert decisions == [str(number).startswith("1") for number in range(MAX_IDENTITIES + 100)]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"users": ()}, "selects nobody"),
        ({"users": (), "authenticated": False, "anonymous": False}, "selects nobody"),
        ({"repositories": ()}, "`repositories` is empty"),
        ({"allow": ()}, "`allow` is empty"),
        ({"tags": ()}, "`tags` is empty"),
        ({"allow": ("pull", "admin")}, "the actions are pull, push, create, delete"),
        ({"users": "alice*"}, "`users` must not be a single text"),
        ({"repositories": "*"}, "`repositories` must not be a single text"),
        ({"tags": "v*"}, "`tags` must not be a single text"),
        ({"authenticated": "false"}, "`authenticated` must not be a single text"),
        ({"users": ("",)}, "must not be empty"),
        ({"repositories": ("a", "")}, "must not be empty"),
        ({"tags": ("[z-a]",)}, "match no character"),
    ],
)
def test_what_is_not_a_rule(change: dict[str, Any], words: str) -> None:
    right: dict[str, Any] = {"users": ("alice",), "repositories": ("*",), "allow": ("pull",)}
    Rule(**right)
    with pytest.raises(ValueError, match=words):
        Rule(**(right | change))
