"""Real clients with an API key: it pulls, pushes only where its key allows that, and ends when the key is revoked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ociserver import Store
from ociserver.api_keys import ApiKey, hash_of, new_secret
from tests.clients.contents import IMAGE
from tests.support.client import Client
from tests.support.images import Layout
from tests.support.server import Server, serve

NO_TLS = ("--src-tls-verify=false", "--dest-tls-verify=false")


@dataclass(frozen=True, slots=True)
class Keys:
    """A server with two workers, and the folder of its store."""

    server: Server
    data: Path

    def make(self, name: str, repositories: str, *allow: str) -> str:
        """A new key, made by another process than the server's."""
        secret = new_secret()
        key = ApiKey(name, hash_of(secret), (repositories,), allow)
        assert asyncio.run(self._with_store("create", key))
        return secret

    def revoke(self, name: str) -> None:
        assert asyncio.run(self._with_store("revoke", name))

    async def _with_store(self, method: str, argument: object) -> bool:
        async with Store(self.data) as store:
            done: bool = await getattr(store.api_keys, method)(argument)
            return done


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    folder = tmp_path_factory.mktemp("keys")
    (folder / "registry.toml").write_text(
        '[server]\nworkers = 2\n[auth]\napi-keys = true\n[registry]\nkind = "store"\ndata = "data"\n'
    )
    with serve(["--config", str(folder / "registry.toml")], folder) as server:
        yield Keys(server, folder / "data")


def test_skopeo(keys: Keys, skopeo: Client, tmp_path: Path) -> None:
    """It gets a token for each operation."""
    layout = Layout(tmp_path / "in")
    layout.tag(layout.image(b"one"), "v1")
    source, at = f"oci:{layout.path}:v1", keys.server.address
    secret, reader = keys.make("ci", "team/*", "pull", "push"), keys.make("reader", "team/*", "pull")
    skopeo.run("login", "--tls-verify=false", "-u", "ci", "--password-stdin", at, stdin=secret.encode())
    skopeo.run("copy", *NO_TLS, source, f"docker://{at}/team/app:v1")
    assert "403" in skopeo.refused("copy", *NO_TLS, source, f"docker://{at}/other/app:v1")

    skopeo.run("login", "--tls-verify=false", "-u", "reader", "--password-stdin", at, stdin=reader.encode())
    skopeo.run("copy", *NO_TLS, f"docker://{at}/team/app:v1", f"oci:{tmp_path / 'out'}:v1")
    assert "denied" in skopeo.refused("copy", *NO_TLS, source, f"docker://{at}/team/app:v2")

    keys.revoke("reader")
    told = skopeo.refused("copy", *NO_TLS, f"docker://{at}/team/app:v1", f"oci:{tmp_path / 'again'}:v1")
    assert "unauthorized" in told
    told = skopeo.refused("login", "--tls-verify=false", "-u", "reader", "--password-stdin", at, stdin=reader.encode())
    assert "unauthorized" in told or "invalid username/password" in told
    log = keys.server.log.read_text()
    assert 'user="api-key:reader" via=api-key' in log


def test_crane(keys: Keys, crane: Client, tmp_path: Path) -> None:
    secret = keys.make("robot", "crane/*", "pull", "create")
    layout, at = IMAGE.write(tmp_path / "in"), keys.server.address
    crane.run("auth", "login", at, "-u", "robot", "--password-stdin", stdin=secret.encode())
    crane.run("push", layout, f"{at}/crane/app:v1")
    crane.run("pull", f"{at}/crane/app:v1", tmp_path / "out.tar")
    assert "403 Forbidden" in crane.refused("push", layout, f"{at}/other/app:v1")
    assert "DENIED" in crane.refused("delete", f"{at}/crane/app@{IMAGE.digest}")
    keys.revoke("robot")
    assert "UNAUTHORIZED" in crane.refused("pull", f"{at}/crane/app:v1", tmp_path / "out.tar")
