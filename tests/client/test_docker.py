"""The client finds the credentials that `docker login` stores, as Docker's own client does."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ociserver.client import Client, Credentials, CredentialsError, docker_credentials
from tests.client.conftest import HURRIED
from tests.client.scripted import Reply, Scripted

pytestmark = pytest.mark.anyio

HOST = "registry.example"
ONE, TWO = Credentials("one", "secret"), Credentials("two", "secret")
HELPERS = {
    "found": """echo '{"ServerURL":"x","Username":"helped","Secret":"'$(cat)'"}'""",
    "token": """echo '{"Username":"<token>","Secret":"refresh"}'""",
    "none": "echo 'credentials not found in native keychain'; exit 1",
    "loud": """echo noise >&2; echo '{"Username":"helped","Secret":"s"}'""",
    "broken": "echo 'cannot open display'; exit 1",
    "odd": "echo '[]'",
}


def auth(user: str, password: str = "secret") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A separate home directory, with credential helpers on the path."""
    (tmp_path / "bin").mkdir()
    for name, script in HELPERS.items():
        path = tmp_path / "bin" / f"docker-credential-{name}"
        path.write_text(f'#!/bin/sh\n[ "$1" = get ] || exit 9\n{script}\n')
        path.chmod(0o755)
    return {"HOME": str(tmp_path / "home"), "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}


def write(path: Path, config: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(config if isinstance(config, str) else json.dumps(config))


@pytest.mark.parametrize(
    "config, wanted",
    [
        ({}, None),
        ({"auths": {}}, None),
        ({"auths": {HOST: {}}}, None),
        ({"auths": {"other.example": auth("one")}}, None),
        ({"auths": {HOST: auth("one")}}, ONE),
        ({"auths": {f"https://{HOST}/v1/": auth("one")}}, ONE),
        ({"auths": {f"https://{HOST}/v1/": auth("two"), HOST: auth("one")}}, ONE),
        ({"auths": {HOST: {"username": "one", "password": "secret"}}}, ONE),
        ({"auths": {HOST: {"username": "two", "password": "other"} | auth("one")}}, ONE),
        ({"auths": {HOST: auth("one", "a:b\0\0")}}, Credentials("one", "a:b")),
        ({"auths": {HOST: {"identitytoken": "t"}}}, Credentials(refresh_token="t")),
        # Azure's registry stores this on a login: a user without a password, and a token.
        ({"auths": {HOST: auth("0000", "") | {"identitytoken": "t"}}}, Credentials(refresh_token="t")),
        ({"auths": {HOST: {"registrytoken": "t"}}}, Credentials(access_token="t")),
        ({"credHelpers": {HOST: "found"}, "auths": {HOST: auth("one")}}, Credentials("helped", HOST)),
        ({"credHelpers": {HOST: "token"}}, Credentials(refresh_token="refresh")),
        ({"credHelpers": {HOST: "loud"}}, Credentials("helped", "s")),
        ({"credHelpers": {HOST: "none"}, "auths": {HOST: auth("one")}}, None),
        ({"credHelpers": {"other.example": "broken"}, "auths": {HOST: auth("one")}}, ONE),
        ({"credsStore": "found", "auths": {HOST: auth("one")}}, Credentials("helped", HOST)),
        ({"credsStore": "broken", "credHelpers": {HOST: "found"}}, Credentials("helped", HOST)),
        ({"credsStore": "none"}, None),
        ({"credsStore": "not-installed", "auths": {HOST: auth("one")}}, ONE),
    ],
)
async def test_a_configuration(environment: dict[str, str], config: dict[str, Any], wanted: Credentials | None) -> None:
    write(Path(environment["HOME"]) / ".docker" / "config.json", config)
    assert await docker_credentials(HOST, environment) == wanted


@pytest.mark.parametrize(
    "config, why",
    [
        ("{", "JSON"),
        ("[]", "JSON"),
        ({"auths": []}, "auths"),
        ({"auths": {HOST: {"auth": "%%%"}}}, "base64"),
        ({"auths": {HOST: {"auth": base64.b64encode(b"no colon").decode()}}}, "user"),
        ({"auths": {HOST: auth("")}}, "user"),
        ({"auths": {HOST: {"username": 5}}}, "string"),
        ({"auths": {HOST: {"username": "u", "password": "p", "identitytoken": "t"}}}, "ambiguous"),
        ({"auths": {f"https://{HOST}/1": auth("a"), f"https://{HOST}/2": auth("b")}}, "more than one"),
        ({"credHelpers": {HOST: "not-installed"}}, "not installed"),
        ({"credHelpers": {HOST: "broken"}}, "status 1"),
        ({"credHelpers": {HOST: "odd"}}, "JSON"),
        ({"credHelpers": {HOST: "../found"}}, "not have a valid name"),
        ({"credsStore": "broken", "auths": {HOST: auth("one")}}, "status 1"),
    ],
)
async def test_the_message_for_an_unreadable_file(environment: dict[str, str], config: Any, why: str) -> None:
    path = Path(environment["HOME"]) / ".docker" / "config.json"
    write(path, config)
    with pytest.raises(CredentialsError, match=why) as caught:
        await docker_credentials(HOST, environment)
    assert str(path) in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_the_first_source_with_the_host_counts(environment: dict[str, str], tmp_path: Path) -> None:
    home, folder, runtime = tmp_path / "home" / ".docker", tmp_path / "folder", tmp_path / "run"
    write(runtime / "containers" / "auth.json", {"auths": {HOST: auth("run"), "third.example": auth("third")}})
    write(home / "config.json", {"auths": {HOST: auth("home")}})
    environment["XDG_RUNTIME_DIR"] = str(runtime)
    assert await docker_credentials(HOST, environment) == Credentials("home", "secret")
    assert await docker_credentials("third.example", environment) == Credentials("third", "secret")
    # The home directory is not used then.
    environment["DOCKER_CONFIG"] = str(folder)
    assert await docker_credentials(HOST, environment) == Credentials("run", "secret")
    write(folder / "config.json", {"auths": {HOST: auth("folder")}})
    assert await docker_credentials(HOST, environment) == Credentials("folder", "secret")
    environment["DOCKER_AUTH_CONFIG"] = json.dumps({"auths": {HOST: auth("inline")}})
    assert await docker_credentials(HOST, environment) == Credentials("inline", "secret")


async def test_a_helper_ends_with_its_caller(environment: dict[str, str], tmp_path: Path) -> None:
    """The helper may be waiting for a user who types a password."""
    started = tmp_path / "started"
    program = tmp_path / "bin" / "docker-credential-slow"
    program.write_text(f"#!/bin/sh\necho $$ > {started}.new; mv {started}.new {started}\nexec sleep 50\n")
    program.chmod(0o755)
    write(Path(environment["HOME"]) / ".docker" / "config.json", {"credHelpers": {HOST: "slow"}})
    asking = asyncio.ensure_future(docker_credentials(HOST, environment))
    async with asyncio.timeout(20):
        while not started.exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


async def test_the_name_of_docker_hub(environment: dict[str, str]) -> None:
    write(
        Path(environment["HOME"]) / ".docker" / "config.json", {"auths": {"https://index.docker.io/v1/": auth("one")}}
    )
    for host in ("docker.io", "registry-1.docker.io"):
        assert await docker_credentials(host, environment) == ONE


async def test_credentials_are_searched_at_the_first_challenge(registry: Scripted) -> None:
    asked: list[str] = []

    async def find(host: str) -> Credentials | None:
        asked.append(host)
        return ONE

    found, wanted = Reply(200, {}, b"{}"), Reply(401, {"WWW-Authenticate": "Basic"})
    registry.will(found, wanted, found, found)
    async with Client(registry.url, credentials=find, retries=HURRIED) as client:
        await client.get_tag("project", "latest")
        assert asked == []
        await client.get_tag("project", "latest")
        await client.get_tag("project", "latest")
    assert asked == [registry.url.removeprefix("http://")]
    assert [seen.headers.get("authorization") for seen in registry.seen] == [None, None, ONE.basic, ONE.basic]
