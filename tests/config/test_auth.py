"""The table `[auth]`: the rules that it describes, and mistakes that no schema can find."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from ociserver.auth.identity import ANONYMOUS, Identity
from ociserver.config import ConfigError, parse
from ociserver.config.auth import Auth, rules_of

FILE: Final = Path("folder/registry.toml")
KEY: Final = "S3cretq8Zk1mN4vR7xT0wY3bF6hJ9sD2"
OTHER_KEY: Final = "S3cretAq8Zk1mN4vR7xT0wY3bF6hJ9sD"

RULES: Final = """
[auth.htpasswd]
file = "users"

[auth.groups]
developers = ["alice", "dependabot[bot]"]

[[auth.rules]]
anonymous = true
repositories = ["public/*"]
allow = ["pull"]

[[auth.rules]]
authenticated = true
repositories = ["*"]
allow = ["pull"]

[[auth.rules]]
groups = ["developers"]
repositories = ["team/*", "tools"]
allow = ["push"]

[[auth.rules]]
users = ["ci-*"]
repositories = ["team/*"]
allow = ["create"]
tags = ["v*"]
"""


def auth_of(text: str) -> Auth:
    auth = parse(text, FILE).auth
    assert auth is not None
    return auth


def test_the_rules_are_those_of_the_file() -> None:
    rules = rules_of(auth_of(RULES))
    assert rules.allows(ANONYMOUS, "pull", "public/a")
    assert not rules.allows(ANONYMOUS, "pull", "team/a")
    assert not rules.allows(ANONYMOUS, "push", "public/a", "v1")
    bob = Identity("bob")
    assert rules.allows(bob, "pull", "team/a")
    assert not rules.allows(bob, "push", "team/a", "v1")
    for name in ("alice", "dependabot[bot]"):
        assert rules.allows(Identity(name), "push", "team/a", "v1")
        assert rules.allows(Identity(name), "push", "tools", "v1")
        assert not rules.allows(Identity(name), "push", "public/a", "v1")
        assert not rules.allows(Identity(name), "delete", "team/a")
    ci = Identity("ci-7")
    assert rules.allows(ci, "create", "team/a", "v1")
    assert not rules.allows(ci, "create", "team/a", "dev")
    assert not rules.allows(ci, "push", "team/a", "v1")
    assert not rules.allows(ci, "create", "tools", "v1")


def test_a_relative_file_of_passwords_is_beside_the_configuration() -> None:
    auth = auth_of(RULES)
    assert auth.htpasswd is not None
    assert auth.htpasswd.file == Path("folder/users")


def test_without_the_table_there_is_nothing_to_decide() -> None:
    assert parse("", FILE).auth is None


@pytest.mark.parametrize("lifetime", ['"1m"', "60", '"24h"', "90.5"])
def test_a_lifetime_of_tokens(lifetime: str) -> None:
    auth_of(f"[auth]\ntoken-lifetime = {lifetime}\n{RULES}")


@pytest.mark.parametrize(
    "keys, key, words",
    [
        ('token-lifetime = "59s"', "auth.token-lifetime", "must be 60 s to 24 h"),
        ('token-lifetime = "25h"', "auth.token-lifetime", "must be 60 s to 24 h"),
        ("token-lifetime = 0", "auth.token-lifetime", "must be 60 s to 24 h"),
        ('token-keys = ["S3cret"]', "auth.token-keys", "key 1 has fewer than 32 bytes"),
        (
            f'token-keys = ["{KEY}", "S3cretS3cretS3cretS3cretS3cretS3cret"]',
            "auth.token-keys",
            "key 2 has fewer than 8",
        ),
        (f'token-keys = ["{KEY}", "{OTHER_KEY}", "{KEY}"]', "auth.token-keys", "key 3 for tokens is there twice"),
        ('token-keys = [{ env = "NO_SUCH_VARIABLE" }]', "auth.token-keys[0]", "is not set"),
        ('realm = "https://user:S3cret@a.example"', "auth.realm", "the URL contains a user name or a password"),
    ],
)
def test_a_mistake_that_only_the_parser_finds(keys: str, key: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"[auth]\n{keys}\n{RULES}", FILE)
    (problem,) = caught.value.problems
    assert (problem.line, problem.key) == (2, key)
    assert words in problem.text
    assert "S3cret" not in str(caught.value)


@pytest.mark.parametrize("where", ["users", "groups", "repositories", "tags"])
def test_a_pattern_that_matches_nothing(where: str) -> None:
    rule = "[[auth.rules]]\nanonymous = true\n" + ("" if where == "repositories" else 'repositories = ["a"]\n')
    with pytest.raises(ConfigError) as caught:
        parse(f'{rule}allow = ["pull"]\n{where} = ["b", "[z-a]"]', FILE)
    assert [problem.key for problem in caught.value.problems] == [f"auth.rules[0].{where}[1]"]


def test_keys_of_tokens_are_in_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_KEY", KEY)
    config = parse(f'[auth]\ntoken-keys = [{{ env = "TOKEN_KEY" }}, "{OTHER_KEY}"]\n{RULES}', FILE)
    assert config.auth is not None
    assert config.auth.token_keys == [KEY, OTHER_KEY]
    assert "S3cret" not in repr(config)
