"""`ociserver key`: what it prints, and what its keys may do at a server with two workers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ociserver.api_keys import is_secret
from ociserver.cli import main
from tests.auth.registry import basic, bearer, manifest
from tests.support.http import send
from tests.support.server import PROGRAM, Server, serve, workers_of

CONFIG = """
[server]
workers = 2
[auth]
api-keys = true
[registry]
kind = "store"
data = "data"
lax-child-references = true
"""
RIGHTS = ("--repositories", "team/*", "--allow", "pull,create", "--tags", "v*")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    (folder / "registry.toml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with serve(["--config", str(folder / "registry.toml")], folder) as server:
        yield server


def run(folder: Path, *arguments: str, at: str = "--config") -> Result:
    """Run a command in this process."""
    place = str(folder / ("registry.toml" if at == "--config" else "data"))
    return CliRunner().invoke(main, [*arguments, at, place])


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as people do."""
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, check=False)


def test_a_key_from_its_creation_to_its_revocation(server: Server, folder: Path) -> None:
    made = process("key", "create", "ci-app", *RIGHTS, "--config", str(folder / "registry.toml"))
    assert made.returncode == 0, made.stderr
    secret = made.stdout.removesuffix("\n")
    assert is_secret(secret)
    assert secret not in made.stderr
    mine = basic("ci-app", secret)
    answer = send(server, "GET", "/v2/token?scope=repository:team/app:pull,push&account=ci-app", headers=mine)
    token = bearer(json.loads(answer.body)["token"])
    put = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
    assert send(server, "PUT", "/v2/team/app/manifests/v1", manifest(), {**put, **token}).status == 201
    assert send(server, "PUT", "/v2/other/app/manifests/v1", manifest(), {**put, **mine}).status == 403

    again = run(folder, "key", "create", "ci-app", *RIGHTS)
    assert (again.exit_code, again.stdout) == (1, "")
    assert "there is a key ci-app already" in again.stderr

    listed = run(folder, "key", "ls", at="--data").stdout
    assert "ci-app  pull, create in team/*, tags v*  until " in listed
    (found,) = json.loads(run(folder, "key", "ls", "--json").stdout)
    assert (found["name"], found["repositories"], found["allow"], found["tags"]) == (
        "ci-app",
        ["team/*"],
        ["pull", "create"],
        ["v*"],
    )
    assert found["expires"] - found["created"] == 90 * 86_400
    assert secret not in listed

    # Connections to both workers, which have all used the token.
    assert len(workers_of(server)) == 2
    connections = [HTTPConnection(server.host, server.port, timeout=30) for _ in range(16)]
    for headers in (token, mine, token):
        assert {_status(each, headers) for each in connections} == {200}
    assert process("key", "revoke", "ci-app", "--data", str(folder / "data")).stdout == "ci-app is revoked\n"
    for headers in (token, mine):
        assert {_status(each, headers) for each in connections} == {401}
    for each in connections:
        each.close()
    gone = run(folder, "key", "revoke", "ci-app")
    assert (gone.exit_code, "there is no key ci-app" in gone.stderr) == (1, True)
    log = server.log.read_text()
    assert '"event": "key-created"' in log
    assert 'user="api-key:ci-app" via=api-key' in log


def _status(connection: HTTPConnection, headers: dict[str, str]) -> int:
    connection.request("GET", "/v2/team/app/manifests/v1", headers=headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def test_json_and_keys_that_never_end(server: Server, folder: Path) -> None:
    made = json.loads(
        run(
            folder,
            "key",
            "create",
            "b",
            "--repositories",
            "a/*, b",
            "--allow",
            "delete",
            "--expires",
            "never",
            "--json",
        ).stdout
    )
    assert is_secret(made["key"])
    assert (made["expires"], made["repositories"], made["last_used"]) == (None, ["a/*", "b"], None)


def test_why(server: Server, folder: Path) -> None:
    run(folder, "key", "create", "why", *RIGHTS)
    allowed = run(folder, "auth", "explain", "api-key:why", "create", "team/app:v1")
    assert allowed.stdout.splitlines() == [
        "allowed: api-key:why may create team/app:v1",
        "  the key itself allows it",
    ]
    denied = run(folder, "auth", "explain", "api-key:why", "delete", "team/app")
    assert (denied.exit_code, denied.stdout.splitlines()[1]) == (1, "  the key itself allows only pull, create")
    found = json.loads(run(folder, "auth", "explain", "api-key:why", "delete", "team/app", "--json").stdout)
    assert (found["allowed"], found["user"]) == (False, "api-key:why")
    assert found["rules"] == [{"rule": None, "line": None, "allows": False, "reason": "allows only pull, create"}]
    unknown = run(folder, "auth", "explain", "api-key:nobody", "pull", "team/app")
    assert unknown.exit_code not in (0, 2)
    assert "no API key" in unknown.stderr


@pytest.mark.parametrize(
    "arguments, text",
    [
        (("create", "A", *RIGHTS), "lower-case letters"),
        (("create", "a:b", *RIGHTS), "lower-case letters"),
        (("create", "a", "--repositories", "x", "--allow", "read"), "unknown action"),
        (("create", "a", "--repositories", "[z-a]", "--allow", "pull"), "reversed"),
        (("create", "a", "--repositories", ",", "--allow", "pull"), "is empty"),
        (("create", "a", *RIGHTS, "--expires", "0"), "1 second or more"),
        (("create", "a", *RIGHTS, "--expires", "soon"), "not a duration"),
        (("create", "a", "--allow", "pull"), "--repositories"),
    ],
)
def test_wrong_command_lines(folder: Path, arguments: tuple[str, ...], text: str) -> None:
    done = run(folder, "key", *arguments)
    assert done.exit_code == 2
    assert text in done.stderr


def test_a_registry_that_refuses_keys(server: Server, folder: Path) -> None:
    """The command says so. It can prepare the keys all the same."""
    other = folder / "other.toml"
    other.write_text('[registry]\nkind = "store"\ndata = "data"\n')
    done = CliRunner().invoke(main, ["key", "ls", "--config", str(other)])
    assert done.exit_code == 0
    assert "set `api-keys = true` in [auth]" in done.stderr


def test_a_server_without_a_store(folder: Path) -> None:
    other = folder / "memory.toml"
    other.write_text("[auth]\napi-keys = true\n")
    done = process("serve", "--config", str(other), "--memory", "--port", "0")
    assert done.returncode not in (0, None)
    assert "api-keys needs exactly one store, which keeps the keys" in done.stderr + done.stdout
