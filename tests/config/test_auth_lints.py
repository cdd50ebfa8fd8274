"""What `ociserver config check` warns about: allowed, but probably a mistake."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from ociserver.cli import main
from ociserver.config import parse
from ociserver.config.auth_lints import lints
from ociserver.config.problems import dotted

HTPASSWD: Final = '[auth.htpasswd]\nfile = "users"\n'
RULE: Final = 'repositories = ["*"]\nallow = ["pull"]\n'
FOR_ALL: Final = f"[[auth.rules]]\nauthenticated = true\n{RULE}"
ANY: Final = '["*"]'
NAMES: Final = '["a", "a/", "/a", "/*", "Team/*", "a b*", "team/*", "*A"]'
GITHUB: Final = "https://token.actions.githubusercontent.com"
OIDC: Final = '[auth.oidc.{}]\nissuer = "{}"\naudience = "registry"\n'
SERVER: Final = '[auth.token-server]\nrealm = "https://a.example"\nservice = "a"\nissuer = "b"\njwks-url = "https://a.example/keys"\n'
USERS: Final = frozenset({"alice", "ci-1"})

# John the Ripper's and Openwall's test vector of bcrypt: the hash of "U*U".
ALICE: Final = "alice:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n"


def rule(selects: str, groups: str = "") -> str:
    return f"{HTPASSWD}[auth.groups]\n{groups}\n[[auth.rules]]\n{selects}\n{RULE}"


# The file, and the places of the warnings with a part of their texts. The file of passwords has `USERS`.
TABLE: Final = {
    "nothing": (HTPASSWD + FOR_ALL, {}),
    "a user": (rule('users = ["alice", "ci-*"]'), {}),
    "a user who is not there": (
        rule('users = ["alice", "zoe", "Alice"]'),
        {"auth.rules[0].users[1]": "matches no user", "auth.rules[0].users[2]": "matches no user"},
    ),
    "a pattern of users that matches nobody": (
        rule('users = ["ci-?1"]'),
        {"auth.rules[0].users[0]": "no user"},
    ),
    "a group": (rule('groups = ["dev", "d*"]', groups='dev = ["alice"]'), {}),
    "a group that is not there": (
        rule('groups = ["dve", "dev"]', groups='dev = ["alice"]'),
        {"auth.rules[0].groups[0]": "matches no group"},
    ),
    "no groups at all": (rule('groups = ["dev"]'), {"auth.rules[0].groups[0]": "matches no group"}),
    "an empty group": (
        rule('groups = ["dev"]', groups="dev = []"),
        {"auth.rules[0].groups[0]": "that has users"},
    ),
    "a member who is not there": (
        f'{HTPASSWD}{FOR_ALL}[auth.groups]\ndev = ["alice", "zoe", "ci-*"]',
        {"auth.groups.dev[1]": "is not a user", "auth.groups.dev[2]": "as a name, and not as a pattern"},
    ),
    "everybody may pull": (f"[[auth.rules]]\nanonymous = true\n{RULE}", {}),
    "everybody may write": (
        f"[[auth.rules]]\nanonymous = true\n{RULE}".replace('"pull"', '"delete", "pull", "push", "create"'),
        {
            "auth.rules[0].allow[0]": "lets everybody delete without signing in",
            "auth.rules[0].allow[2]": "lets everybody push",
            "auth.rules[0].allow[3]": "lets everybody create",
        },
    ),
    "users may write": (HTPASSWD + FOR_ALL.replace('"pull"', '"push", "delete"'), {}),
    "rules for users, but no users": (
        f'[[auth.rules]]\nanonymous = true\n{RULE}{FOR_ALL}[[auth.rules]]\nusers = ["a"]\n{RULE}',
        {"auth.rules[1]": "nobody can sign in", "auth.rules[2]": "nobody can sign in"},
    ),
    "names that no repository has": (
        f"{HTPASSWD}{FOR_ALL.replace(ANY, NAMES)}",
        {f"auth.rules[0].repositories[{number}]": "no repository" for number in range(1, 6)},
    ),
    "names that no tag has": (
        f'{HTPASSWD}{FOR_ALL}tags = ["V1", "*", "v*", "-x", "sha256:00*", "a/b", "_1", "V*"]',
        {f"auth.rules[0].tags[{number}]": "no tag" for number in (3, 4, 5)},
    ),
    "a user with the name of a provider": (
        f"{HTPASSWD}{FOR_ALL}{OIDC.format('alice', 'https://a.example')}{OIDC.format('mia', 'https://b.example')}",
        {"auth.oidc.alice": "has the name of a user of the file of passwords"},
    ),
    "users of a provider are not known": (
        OIDC.format("ci", "https://a.example") + rule('users = ["ci:x", "zoe"]', 'dev = ["ci:x"]') + FOR_ALL,
        {},
    ),
    "everybody with an account at a public provider": (
        OIDC.format("ci", GITHUB)
        + FOR_ALL
        + "".join(
            f"[[auth.rules]]\n{selects}\n{RULE}"
            for selects in (
                'users = ["ci:*", "*", "c*", "ci:repo:*", "other:*", "alice"]',
                'users = ["ci:*"]\nclaims = { repository_owner = "org" }',
            )
        ),
        {
            "auth.rules[0].authenticated": "everybody with an account",
            "auth.rules[1].users[0]": "everybody with an account",
            "auth.rules[1].users[1]": "everybody with an account",
            "auth.rules[1].users[2]": "everybody with an account",
        },
    ),
    "a public provider whose users are limited": (
        OIDC.format("ci", GITHUB) + f'require = {{ repository_owner = "org" }}\n{FOR_ALL}',
        {},
    ),
    "a token server": (f"{SERVER}{FOR_ALL}[[auth.rules]]\nusers = ['zoe']\n{RULE}", {}),
}


def found(text: str, users: Collection[str] | None) -> dict[str, str]:
    auth = parse(text, Path("registry.toml")).auth
    assert auth is not None
    return {dotted(lint.at): lint.text for lint in lints(auth, users)}


@pytest.mark.parametrize("name", TABLE)
def test_what_is_probably_a_mistake(name: str) -> None:
    text, expected = TABLE[name]
    warned = found(text, USERS)
    assert warned.keys() == expected.keys()
    assert all(words in warned[key] for key, words in expected.items())


def test_users_are_not_compared_with_a_file_that_cannot_be_read() -> None:
    text = rule('users = ["zoe"]', groups='dev = ["bob"]')
    assert found(text, None) == {}
    assert found(text, USERS).keys() == {"auth.rules[0].users[0]", "auth.groups.dev[0]"}


@pytest.mark.parametrize("name", TABLE)
def test_no_warning_repeats_a_value(name: str) -> None:
    """A string of the file may be a secret, even where none belongs."""
    text, _ = TABLE[name]
    said = " ".join(found(text.replace("zoe", "S3cret"), USERS).values())
    assert "S3cret" not in said


def check(file: Path) -> tuple[int, str, list[str]]:
    done = CliRunner().invoke(main, ["config", "check", str(file)])
    return done.exit_code, done.stdout, done.stderr.splitlines()


def test_the_command_warns_and_its_exit_status_stays_0(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text(f'{FOR_ALL}[[auth.rules]]\nusers = ["alice", "zoe"]\n{RULE}{HTPASSWD}[auth.groups]\ndev = ["zoe"]')
    (tmp_path / "users").write_text(ALICE)
    assert check(file) == (
        0,
        f"{file}: no mistakes\n",
        [
            f"{file}:6: auth.rules[1].users[1]: warning: matches no user of the file of passwords",
            f"{file}:12: auth.groups.dev[0]: warning: is not a user of the file of passwords",
        ],
    )
    (tmp_path / "users").write_text(f"{ALICE}{ALICE.replace('alice', 'zoe')}")
    assert check(file) == (0, f"{file}: no mistakes\n", [])


def test_a_file_of_passwords_that_is_missing_or_wrong_is_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text(f'{FOR_ALL}{HTPASSWD}[auth.groups]\ndev = ["zoe"]')
    at = f"{file}:6: auth.htpasswd.file: "
    status, _, (missing,) = check(file)
    assert status == 2
    assert missing == (
        f"{at}names a file that cannot be read (No such file or directory); make it with `ociserver auth hash USER`, "
        "or check on the machine that has it"
    )
    (tmp_path / "users").write_text("zoe:S3cret\n")
    status, _, (wrong,) = check(file)
    assert status == 2
    assert wrong.startswith(f"{at}the users cannot be read: {tmp_path}/users: line 1: ")


def test_other_files_that_are_missing_are_mistakes(tmp_path: Path) -> None:
    """Also one whose path is in another file: it may be a key in place of a path, so the message repeats none."""
    file = tmp_path / "registry.toml"
    file.write_text(
        f"""{FOR_ALL}
[server]
tls-cert = "cert.pem"
tls-key = {{ file = "key.path" }}
tls-client-ca = "clients.pem"
[auth.oidc.ci]
issuer = "https://ci.example"
audience = "registry.example"
jwks = "keys.json"
require = {{ project = "a" }}
"""
    )
    (tmp_path / "key.path").write_text("S3cret")
    status, _, lines = check(file)
    assert status == 2
    missing = (
        "names a file that cannot be read (No such file or directory); correct the path, "
        "or check on the machine that has it"
    )
    keys = {7: "server.tls-cert", 8: "server.tls-key", 9: "server.tls-client-ca", 13: "auth.oidc.ci.jwks"}
    assert lines == [f"{file}:{line}: {key}: {missing}" for line, key in keys.items()]


def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text(f"{FOR_ALL}{HTPASSWD}")
    os.mkfifo(tmp_path / "users")
    status, _, (line,) = check(file)
    assert status == 2
    assert "auth.htpasswd.file: names a file that cannot be read (not a regular file); " in line
