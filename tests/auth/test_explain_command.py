"""`ociserver auth explain`: what it prints, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner, Result

from ociserver.cli.auth_explain import explain

CONFIG: Final = """\
[auth.htpasswd]
file = "users"

[auth.groups]
developers = ["alice"]

[[auth.rules]]
anonymous = true
repositories = ["public/*"]
allow = ["pull"]

[[auth.rules]]
groups = ["developers"]
repositories = ["team/*"]
allow = ["push", "delete"]
tags = ["v*"]
"""
TOKEN_SERVER: Final = """\
[auth.token-server]
realm = "https://a.example"
service = "a"
issuer = "b"
jwks-url = "https://a.example/keys"
"""
FIRST: Final = 7
SECOND: Final = 12


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "registry.toml"
    path.write_text(CONFIG)
    return path


def run(file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(explain, ["--config", str(file), *arguments])


def test_what_is_allowed(file: Path) -> None:
    done = run(file, "alice", "create", "team/app:v1")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "allowed: alice may create team/app:v1",
        "  alice is in developers",
        f"  rule 2 ({file}:{SECOND}) allows it",
        f"  rule 1 ({file}:{FIRST}) allows only pull",
    ]


def test_what_is_denied(file: Path) -> None:
    done = run(file, "bob", "pull", "team/app")
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "denied: bob may not pull team/app",
        f"  rule 1 ({file}:{FIRST}) is only for the repositories public/*",
        f"  rule 2 ({file}:{SECOND}) is only for the groups developers",
    ]


@pytest.mark.parametrize(
    "arguments, status",
    [
        (("-", "pull", "public/a:v1"), 0),
        (("-", "pull", "team/a"), 1),
        (("-", "push", "public/a:v1"), 1),
        (("alice", "pull", "public/a"), 0),
        (("alice", "push", "team/a"), 0),
        (("alice", "push", "team/a:dev"), 1),
        (("alice", "delete", "team/a:v1"), 0),
        (("alice", "delete", "team/a"), 1),
        (("Alice", "push", "team/a:v1"), 1),
        (("alice", "push", "teams/a:v1"), 1),
    ],
)
def test_the_exit_status(file: Path, arguments: tuple[str, ...], status: int) -> None:
    done = run(file, *arguments)
    assert done.exit_code == status
    assert done.stdout.startswith(("allowed: ", "denied: ")[status])


def test_a_client_without_credentials(file: Path) -> None:
    assert run(file, "-", "pull", "public/a").stdout.startswith("allowed: a client without credentials may pull")
    assert "is not for clients without credentials" in run(file, "-", "push", "team/a").stdout


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("alice", "pull"), "Missing argument"),
        (("alice", "read", "a"), "is not one of"),
        (("alice", "pull", "A"), "is not REPOSITORY or REPOSITORY:TAG"),
        (("alice", "pull", "a:"), "is not REPOSITORY or REPOSITORY:TAG"),
        (("alice", "pull", "*"), "is not REPOSITORY or REPOSITORY:TAG"),
        (("alice", "pull", f"a@sha256:{'0' * 64}"), "is not REPOSITORY or REPOSITORY:TAG"),
        (("", "pull", "a"), "USER is empty"),
    ],
)
def test_a_wrong_command_line(file: Path, arguments: tuple[str, ...], words: str) -> None:
    done = run(file, *arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    assert done.stdout == ""


def test_a_wrong_file(file: Path) -> None:
    file.write_text(CONFIG.replace("pull", "pul"))
    done = run(file, "alice", "pull", "a")
    assert done.exit_code == 2
    assert done.stderr == (
        f"{file}:10: auth.rules[0].allow[0]: must be one of pull, push, create, delete; did you mean pull?\n"
    )


def test_a_file_without_the_table(file: Path) -> None:
    file.write_text("")
    done = run(file, "-", "delete", "a")
    assert (done.exit_code, done.stdout) == (
        0,
        "allowed: the configuration has no [auth] table, so everybody may do everything\n",
    )


def test_json(file: Path) -> None:
    done = run(file, "alice", "create", "team/app:v1", "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (
        0,
        {
            "allowed": True,
            "user": "alice",
            "action": "create",
            "repository": "team/app",
            "tag": "v1",
            "groups": ["developers"],
            "rules": [
                {"rule": 1, "line": FIRST, "allows": False, "reason": "allows only pull"},
                {"rule": 2, "line": SECOND, "allows": True, "reason": None},
            ],
            "reason": None,
        },
    )
    denied = run(file, "-", "push", "team/app", "--json")
    found = json.loads(denied.stdout)
    assert (denied.exit_code, found["allowed"], found["user"], found["tag"]) == (1, False, None, None)
    assert [rule["allows"] for rule in found["rules"]] == [False, False]


def test_json_without_rules(file: Path) -> None:
    file.write_text("")
    done = run(file, "alice", "pull", "a", "--json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["allowed"], found["rules"]) == (0, True, [])
    assert "no [auth] table" in found["reason"]
    file.write_text(TOKEN_SERVER)
    done = run(file, "alice", "pull", "a", "--json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["allowed"]) == (1, None)
    assert "decide alone" in found["reason"]


def test_no_text_controls_the_terminal(file: Path) -> None:
    file.write_text(CONFIG.replace("public/*", "\\bx"))
    printed = run(file, "a\bb", "pull", "a").stdout
    assert "\b" not in printed
    assert "denied: a\N{REPLACEMENT CHARACTER}b may not" in printed
    assert "is only for the repositories \N{REPLACEMENT CHARACTER}x" in printed


def test_claims_of_a_user(tmp_path: Path) -> None:
    path = tmp_path / "registry.toml"
    path.write_text(
        '[auth.oidc.ci]\nissuer = "https://a.example"\naudience = "b"\n'
        '[[auth.rules]]\nusers = ["ci:*"]\nclaims = { ref = "main" }\nrepositories = ["*"]\nallow = ["pull"]\n'
    )
    assert run(path, "ci:job", "pull", "a", "--claim", "ref=x", "--claim", "ref=main").exit_code == 0
    done = run(path, "ci:job", "pull", "a", "--claim", "ref=x=y")
    assert (done.exit_code, done.stdout.splitlines()[1]) == (
        1,
        f"  rule 1 ({path}:4) is only for the claims ref = main",
    )
    assert run(path, "other:job", "pull", "a", "--claim", "ref=main").exit_code == 1
    for wrong in ("ref", "=main"):
        assert run(path, "ci:job", "pull", "a", "--claim", wrong).exit_code == 2


def test_a_token_server_that_decides_alone(tmp_path: Path) -> None:
    path = tmp_path / "registry.toml"
    path.write_text(TOKEN_SERVER)
    done = run(path, "alice", "pull", "a")
    assert (done.exit_code, "decide alone" in done.stdout) == (1, True)
