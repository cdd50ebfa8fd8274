"""Rules, compared with their definition, and with each other: for any rules and any request."""

from __future__ import annotations

import re
from random import Random
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from ociserver.auth.identity import ACTIONS, ANONYMOUS, Action, Identity
from ociserver.auth.rules import Rule, Rules

REPOSITORIES: Final = ("a", "ab", "a/b", "a/bc", "a/b/c", "b", "b/a", "b/ab", "c/a/b", "abc/d")
TAGS: Final = ("v1", "v2", "dev", "latest")
USERS: Final = ("alice", "bob", "ci-1")
GROUPS: Final = ("team", "ops")

repository_patterns = st.sampled_from(
    (*REPOSITORIES, "*", "a/*", "a*", "*b", "*/b", "?", "[ab]", "a/?", "a/b*", "[!a]*", "a*c", "A", "b/*", "c/*/b")
)
tag_patterns = st.sampled_from((*TAGS, "*", "v*", "v?", "[!v]*"))
user_patterns = st.sampled_from((*USERS, "*", "ci-*", "?*"))
group_patterns = st.sampled_from((*GROUPS, "*", "t*"))


def several(patterns: st.SearchStrategy[str], least: int = 1) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(patterns, min_size=least, max_size=3).map(tuple)


rules_of_any_kind = st.builds(
    lambda selects, **rest: Rule(**selects, **rest),
    selects=st.one_of(
        st.fixed_dictionaries({"users": several(user_patterns)}),
        st.fixed_dictionaries({"groups": several(group_patterns), "users": several(user_patterns, 0)}),
        st.just({"authenticated": True}),
        st.just({"anonymous": True}),
    ),
    repositories=several(repository_patterns),
    allow=st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=3).map(tuple),
    tags=st.none() | several(tag_patterns),
)
rule_lists = st.lists(rules_of_any_kind, max_size=5)
memberships = st.dictionaries(st.sampled_from(GROUPS), st.lists(st.sampled_from(USERS), max_size=2), max_size=2)
grants = st.none() | st.dictionaries(
    st.sampled_from(REPOSITORIES), st.frozensets(st.sampled_from(("pull", "push", "delete"))), max_size=3
)
identities = st.just(ANONYMOUS) | st.builds(
    Identity, name=st.sampled_from(USERS), groups=st.frozensets(st.sampled_from(GROUPS)), grants=grants
)
repositories = st.sampled_from(REPOSITORIES)
actions = st.sampled_from(ACTIONS)
tags = st.none() | st.sampled_from(TAGS)


def matches(pattern: str, name: str) -> bool:
    """What the patterns of this file mean."""
    expression = "".join({"*": ".*", "?": "."}.get(each, each) for each in pattern).replace("[!", "[^")
    return re.fullmatch(expression, name) is not None


def defined(
    rule: Rule, groups: dict[str, list[str]], who: Identity, action: Action, name: str, tag: str | None
) -> bool:
    """Whether a rule allows something, by its docstring."""
    mine = who.groups | {group for group, users in groups.items() if who.name in users}
    is_selected = rule.anonymous or (
        who.name != ""
        and (
            rule.authenticated
            or any(matches(pattern, who.name) for pattern in rule.users)
            or any(matches(pattern, group) for pattern in rule.groups for group in mine)
        )
    )
    may = action in rule.allow or (action == "create" and "push" in rule.allow)
    is_there = any(matches(pattern, name) for pattern in rule.repositories)
    if rule.tags is None:
        fits = True
    elif tag is None:
        fits = action != "delete"
    else:
        fits = any(matches(pattern, tag) for pattern in rule.tags)
    return is_selected and may and is_there and fits


@given(rule_lists, memberships, identities, actions, repositories, tags)
def test_a_decision_is_that_of_any_rule_and_the_token(
    rules: list[Rule], groups: dict[str, list[str]], who: Identity, action: Action, name: str, tag: str | None
) -> None:
    allowing = [number for number, rule in enumerate(rules, 1) if defined(rule, groups, who, action, name, tag)]
    subject = Rules(rules, groups)
    assert subject.policy_allows(who, action, name, tag) == bool(allowing)
    assert subject.allows(who, action, name, tag) == (bool(allowing) and who.permits(action, name))
    explained = subject.explain(who, action, name, tag)
    assert explained.is_allowed == subject.allows(who, action, name, tag)
    assert list(explained.allowing) == allowing
    assert sorted((*explained.allowing, *explained.others)) == list(range(1, len(rules) + 1))
    assert all(explained.others.values())


@given(rule_lists, rules_of_any_kind, st.integers(0, 5), memberships, identities)
def test_another_rule_takes_no_right_away(
    rules: list[Rule], another: Rule, place: int, groups: dict[str, list[str]], who: Identity
) -> None:
    before, after = Rules(rules, groups), Rules([*rules[:place], another, *rules[place:]], groups)
    for name in REPOSITORIES:
        for action in ACTIONS:
            for tag in (None, *TAGS):
                assert after.allows(who, action, name, tag) or not before.allows(who, action, name, tag)
        assert before.granted(who, name) <= after.granted(who, name)


@given(rule_lists, st.randoms(use_true_random=False), identities, actions, repositories, tags)
def test_the_order_of_rules_does_not_matter(
    rules: list[Rule], random: Random, who: Identity, action: Action, name: str, tag: str | None
) -> None:
    shuffled = list(rules)
    random.shuffle(shuffled)
    assert Rules(rules).allows(who, action, name, tag) == Rules(shuffled).allows(who, action, name, tag)


@given(rule_lists, memberships, identities, actions, repositories, tags)
def test_who_signs_in_loses_no_right(
    rules: list[Rule], groups: dict[str, list[str]], who: Identity, action: Action, name: str, tag: str | None
) -> None:
    subject = Rules(rules, groups)
    assert subject.policy_allows(who, action, name, tag) or not subject.policy_allows(ANONYMOUS, action, name, tag)


@given(rule_lists, memberships, identities, repositories)
def test_what_a_token_is_given_is_allowed_for_some_tag(
    rules: list[Rule], groups: dict[str, list[str]], who: Identity, name: str
) -> None:
    subject = Rules(rules, groups)
    some = {
        "push" if action == "create" else action
        for action in ACTIONS
        for tag in (None, *TAGS)
        if any(defined(rule, groups, who, action, name, tag) for rule in rules)
    }
    assert subject.granted(who, name) == some
    assert subject.lists(who, name) == ("pull" in some)
    if subject.pulls_every_tag(who, name):
        assert all(subject.policy_allows(who, "pull", name, tag) for tag in (None, *TAGS, "any"))


@given(rule_lists, memberships, identities)
def test_the_prefixes_hide_no_repository_that_is_listed(
    rules: list[Rule], groups: dict[str, list[str]], who: Identity
) -> None:
    subject = Rules(rules, groups)
    prefixes = subject.prefixes(who)
    assert list(prefixes) == sorted(prefixes)
    for name in REPOSITORIES:
        # Exactly one, so that no page of the list has a name twice.
        count = sum(name.startswith(prefix) for prefix in prefixes)
        assert count <= 1
        assert count == 1 or not subject.lists(who, name)
    if not subject.may_pull_anything(who):
        assert not any(subject.lists(who, name) for name in REPOSITORIES)
