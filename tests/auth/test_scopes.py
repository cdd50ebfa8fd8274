"""Scopes: the grammar of distribution's "Token Scope Documentation", and the `access` claim."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ociserver.auth.identity import CATALOG
from ociserver.auth.scopes import MAX_SCOPE_BYTES, MAX_SCOPES, access_of, format_scope, grants_of, parse_scopes
from ociserver.auth.tokens import MAX_TOKEN_BYTES

PULL, PUSH, DELETE = "pull", "push", "delete"

component = st.from_regex(r"[a-z0-9]{1,6}((\.|_|__|-{1,3})[a-z0-9]{1,4})?", fullmatch=True)
repositories = st.lists(component, min_size=1, max_size=3).map("/".join)
actions = st.frozensets(st.sampled_from([PULL, PUSH, DELETE]), min_size=1)
catalogs = st.sampled_from([{}, {CATALOG: frozenset("*")}])
some_grants = st.builds(lambda found, catalog: found | catalog, st.dictionaries(repositories, actions), catalogs)


@pytest.mark.parametrize(
    "values, wanted",
    [
        ([], {}),
        ([""], {}),
        (["repository:team/app:pull,push"], {"team/app": {PULL, PUSH}}),
        (["repository:app:pull", "repository:app:push"], {"app": {PULL, PUSH}}),
        # A POST has one value for all scopes, and a mount asks for two repositories.
        (["repository:a:pull,push repository:b:pull"], {"a": {PULL, PUSH}, "b": {PULL}}),
        (["repository:a:pull repository:b:pull", "repository:c:pull"], {"a": {PULL}, "b": {PULL}, "c": {PULL}}),
        (["repository:a:*"], {"a": {PULL, PUSH, DELETE}}),
        (["repository:a:pull,*"], {"a": {PULL, PUSH, DELETE}}),
        (["registry:catalog:*"], {CATALOG: {"*"}}),
        (["repository(plugin):a:pull"], {"a": {PULL}}),
        # Whitespace that should not be there.
        (["  repository:a:pull ,\tpush\n repository:b:pull, delete "], {"a": {PULL, PUSH}, "b": {PULL, DELETE}}),
    ],
)
def test_what_scopes_ask_for(values: list[str], wanted: dict[str, set[str]]) -> None:
    assert parse_scopes(values) == wanted


@pytest.mark.parametrize(
    "scope",
    [
        "repository:a:admin",
        "repository:a:PULL",
        "repository:a:pullpush",
        "repository:a:",
        "repository:a",
        "repository::pull",
        "repository",
        ":",
        ":::",
        "Repository:a:pull",
        "repository():a:pull",
        "repository(plugin:a:pull",
        "xrepository:a:pull",
        "artifact-repository:a:pull",
        "namespace:team:pull",
        "registry:catalog:pull",
        "registry:catalog:",
        "registry:metrics:*",
        # Names that no repository has. The first is that of the catalog in `Grants`.
        "repository:*:*",
        "repository:catalog/*:pull",
        "repository:team/:pull",
        "repository:/team:pull",
        "repository:a//b:pull",
        "repository:a/../b:pull",
        "repository:Team/app:pull",
        "repository:a%2Fb:pull",
        "repository:localhost:5000/a:pull",
        "repository:a:pull:push,delete",
        "repository:a:pull,repository:b:push",
        f"repository:{'a' * 256}:pull",
    ],
)
def test_what_is_unknown_grants_nothing(scope: str) -> None:
    assert parse_scopes([scope]) == {}
    assert parse_scopes([f"repository:shown:pull {scope}"]) == {"shown": {PULL}}


def test_an_unknown_action_does_not_take_the_known_ones_away() -> None:
    assert parse_scopes(["repository:a:admin,pull,pull"]) == {"a": {PULL}}


def test_the_number_of_scopes_is_bounded() -> None:
    values = [f"repository:r{number}:pull" for number in range(MAX_SCOPES)]
    assert len(parse_scopes(values)) == len(parse_scopes([" ".join(values)])) == MAX_SCOPES
    for more in ([*values, "x:y:z"], [" ".join([*values, "x:y:z"])]):
        with pytest.raises(ValueError, match=f"more than {MAX_SCOPES} scopes"):
            parse_scopes(more)
    assert len(parse_scopes([*values, "x:y:z"], max_scopes=MAX_SCOPES + 1)) == MAX_SCOPES


@pytest.mark.parametrize("letter", ["x", " ", ",", "é", "\ud800"])
def test_the_bytes_of_scopes_are_bounded(letter: str) -> None:
    most = MAX_SCOPE_BYTES // len(letter.encode(errors="surrogatepass"))
    assert parse_scopes([letter * most]) == {}
    for more in ([letter * (most + 1)], [letter * most, letter]):
        with pytest.raises(ValueError, match=f"more than {MAX_SCOPE_BYTES} bytes") as failed:
            parse_scopes(more)
        assert letter * 2 not in str(failed.value)


def test_what_may_be_asked_for_fits_into_a_token() -> None:
    size = MAX_SCOPE_BYTES // MAX_SCOPES - len("repository::*")
    grants = parse_scopes([f"repository:{number:a>{size}}:*" for number in range(MAX_SCOPES)])
    assert len(grants) == MAX_SCOPES
    text = str(access_of(grants)).replace(" ", "")
    assert len(text) * 4 / 3 < MAX_TOKEN_BYTES - 1024


def test_the_text_is_sorted() -> None:
    grants = {"b": frozenset({PUSH, PULL}), "a/b": frozenset({DELETE}), CATALOG: frozenset("*"), "c": frozenset[str]()}
    assert format_scope(grants) == "registry:catalog:* repository:a/b:delete repository:b:pull,push"
    assert format_scope({}) == ""


@settings(deadline=None)
@given(some_grants)
def test_grants_survive_their_text_and_their_claim(grants: dict[str, frozenset[str]]) -> None:
    text = format_scope(grants)
    assert parse_scopes([text], max_scopes=100, max_bytes=10_000) == grants
    assert parse_scopes(text.split(), max_scopes=100, max_bytes=10_000) == grants
    assert format_scope(dict(reversed(grants.items()))) == text
    assert grants_of(access_of(grants)) == grants


@settings(deadline=None)
@given(st.lists(st.text(alphabet="repositygcalu:*,/()a \t\n", max_size=60) | st.text(max_size=20)))
def test_any_text_grants_only_what_can_be_granted(values: list[str]) -> None:
    grants = parse_scopes(values, max_scopes=10_000, max_bytes=1_000_000)
    assert parse_scopes([format_scope(grants)], max_scopes=10_000, max_bytes=1_000_000) == grants
    assert all(grants.values())


def test_the_claim_is_that_of_the_token_spec() -> None:
    # https://distribution.github.io/distribution/spec/auth/jwt/, "Claim Set".
    access: list[dict[str, Any]] = [{"type": "repository", "name": "samalba/my-app", "actions": ["pull", "push"]}]
    assert grants_of(access) == {"samalba/my-app": {PULL, PUSH}}
    assert access_of({"samalba/my-app": frozenset({PUSH, PULL})}) == access
    assert access_of({CATALOG: frozenset("*")}) == [{"type": "registry", "name": "catalog", "actions": ["*"]}]


@pytest.mark.parametrize(
    "access, wanted",
    [
        (None, {}),
        ([], {}),
        ([{"type": "repository", "name": "a", "actions": None}], {}),
        ([{"type": "repository", "name": "a", "actions": []}], {}),
        ([{"type": "repository", "class": "image", "name": "a", "actions": ["*"]}], {"a": {PULL, PUSH, DELETE}}),
        ([{"type": "repository", "name": "a", "actions": [one]} for one in (PULL, PUSH)], {"a": {PULL, PUSH}}),
        ([{"type": "repository", "name": "*", "actions": ["*"]}], {}),
        ([{"type": "repository", "name": "a/*", "actions": ["pull"]}], {}),
        ([{"type": "plugin", "name": "a", "actions": ["pull"]}], {}),
    ],
)
def test_what_a_claim_grants(access: object, wanted: dict[str, set[str]]) -> None:
    assert grants_of(access) == wanted


@pytest.mark.parametrize(
    "access",
    [
        {},
        "repository:a:pull",
        True,
        ["repository:a:pull"],
        [None],
        [{}],
        [{"type": "repository", "actions": ["pull"]}],
        [{"name": "a", "actions": ["pull"]}],
        [{"type": "repository", "name": ["a"], "actions": ["pull"]}],
        [{"type": "repository", "name": "a", "actions": "pull"}],
        [{"type": "repository", "name": "a", "actions": [["pull"]]}],
        [{"type": "repository", "name": "a", "actions": {"pull": True}}],
    ],
)
def test_a_malformed_claim_is_refused(access: object) -> None:
    with pytest.raises(ValueError, match="access"):
        grants_of(access)
