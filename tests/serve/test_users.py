"""`ociserver serve --config` with users: start, reload, restart, and several workers."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.auth.registry import MANIFEST_TYPE, TOML, basic, bearer, htpasswd, line, manifest
from tests.cli.process import Serve, eventually, run_to_end, serving

TAG = "/v2/team/app/manifests/v1"
STORE = '[registry]\nkind = "store"\ndata = "data"\nlax-child-references = true\n'
MEMORY = '[registry]\nkind = "memory"\nlax-child-references = true\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    htpasswd(tmp_path)
    return write(tmp_path / "registry.toml")


def write(path: Path, registry: str = STORE, auth: str = TOML) -> Path:
    path.write_text(registry + auth)
    return path


@contextmanager
def served(file: Path, *arguments: str) -> Iterator[Serve]:
    with serving(file.parent, "--config", str(file), *arguments) as server:
        yield server


def push(server: Serve, headers: dict[str, str], tag: str = TAG) -> int:
    connection = server.http()
    connection.request("PUT", tag, manifest(), {"content-type": MANIFEST_TYPE, **headers})
    response = connection.getresponse()
    response.read()
    return response.status


def token(server: Serve, user: str) -> dict[str, str]:
    scope = quote("repository:team/app:pull,push,delete")
    status, body = server.get(f"/v2/token?scope={scope}", headers=basic(user))
    assert status == 200, body
    return bearer(json.loads(body)["token"])


def reload(server: Serve, said: str = "the configuration was reloaded") -> None:
    before = server.printed().count(said)
    server.signal(signal.SIGHUP)
    eventually(lambda: server.printed().count(said) > before, f"another {said!r}", server.printed)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_token_is_accepted_by_every_worker_and_after_a_restart(file: Path, workers: str) -> None:
    with served(file, "--workers", workers) as server:
        mine = token(server, "alice")
        assert push(server, mine) == 201
        # Each request has a new connection, so both workers answer some.
        assert {server.get(TAG, headers=mine)[0] for _ in range(20)} == {200}
        assert {server.get(TAG)[0] for _ in range(20)} == {401}
        server.signal(signal.SIGTERM)
        assert server.exit_status() == 0
    assert (file.parent / "data" / "token.key").stat().st_mode & 0o777 == 0o600
    with served(file) as server:
        assert server.get(TAG, headers=mine)[0] == 200


def test_a_server_without_a_folder_keeps_its_key_over_a_reload(file: Path) -> None:
    write(file, MEMORY)
    with served(file) as server:
        mine = token(server, "alice")
        assert push(server, mine) == 201
        reload(server)
        assert server.get(TAG, headers=mine)[0] == 200


def test_a_reload_changes_rules_and_a_broken_file_changes_nothing(file: Path) -> None:
    with served(file) as server:
        mine = token(server, "alice")
        assert push(server, mine) == 201
        write(file, auth=TOML.replace('dev = ["alice"]', 'dev = ["bob"]'))
        reload(server)
        assert server.get(TAG, headers=mine)[0] == 403
        assert push(server, basic("bob")) == 201
        users = file.parent / "users.htpasswd"
        before = users.read_text()
        for content in ("", "alice:$apr1$zzzzzzzz$zzzzzzzzzzzzzzzzzzzzzz\n"):
            users.write_text(content)
            reload(server, "the configuration was not reloaded")
            assert server.get("/v2/", headers=basic("bob"))[0] == 200
        users.write_text(before + line("carol", "a new user"))
        eventually(
            lambda: server.get("/v2/", headers=basic("carol", "a new user"))[0] == 200, "carol signs in", server.printed
        )


def test_a_reload_without_rules_does_not_open_the_registry(file: Path) -> None:
    with served(file) as server:
        assert push(server, basic("alice")) == 201
        for rest in ("", TOML[: TOML.index("[[auth.rules]]")]):
            write(file, auth=rest)
            reload(server, "the configuration was not reloaded")
            assert server.get(TAG)[0] == 401
        assert "[auth] was removed" in server.printed()


@pytest.mark.parametrize(
    "content, said",
    [
        ("", "no users"),
        ("alice:secret\n", "line 1"),
        ("alice:$apr1$zzzzzzzz$zzzzzzzzzzzzzzzzzzzzzz\n", "ociserver auth hash"),
        ("alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n", "ociserver auth hash"),
        (None, "users.htpasswd"),
    ],
)
def test_it_does_not_start_with_a_wrong_file_of_users(file: Path, content: str | None, said: str) -> None:
    users = file.parent / "users.htpasswd"
    if content is None:
        users.unlink()
    else:
        users.write_text(content)
    done = run_to_end("--config", str(file), "--port", "0")
    assert done.returncode == 1
    assert said in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


def test_it_does_not_start_with_a_key_that_others_can_read(file: Path) -> None:
    with served(file) as server:
        assert token(server, "alice")
    key = file.parent / "data" / "token.key"
    key.chmod(0o644)
    done = run_to_end("--config", str(file), "--port", "0")
    assert done.returncode == 1
    assert "chmod 600" in done.stderr
    assert key.read_text().strip() not in done.stderr


def test_the_log_names_users(file: Path) -> None:
    with served(file) as server:
        mine = token(server, "alice")
        push(server, mine)
        server.get(TAG, headers=mine)
        server.get("/v2/", headers=basic("alice", "a wrong secret"))
        said = server.wait_for('"event": "sign-in-refused"')
    assert '"event": "push", "user": "alice"' in said
    assert 'user="alice" via=htpasswd' in said


def test_an_audit_log_in_json(file: Path) -> None:
    with served(file, "--log-format", "json") as server:
        push(server, basic("alice"))
        said = server.wait_for('"event":"push"')
    (entry,) = [each for each in map(json.loads, said.splitlines()) if each.get("event") == "push"]
    assert entry["logger"] == "ociserver.audit"
    assert (entry["message"], entry["user"], entry["tags"]) == ("push", "alice", ["v1"])
    access = [each for each in map(json.loads, said.splitlines()) if each["message"] == "request"]
    assert access[-1]["user"] == "alice"
