"""`ociserver serve --config` on several nodes, over PostgreSQL and a bucket, without a folder."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from click.testing import CliRunner

from ociserver.cli import main
from ociserver.store.folder import COLLECTION
from ociserver.store.postgres import PostgreSQL
from tests.auth.registry import MANIFEST_TYPE, TOML, basic, bearer, htpasswd, manifest
from tests.cli.process import Serve, eventually, run_to_end
from tests.cli.registries.conftest import ociserver, refused
from tests.support.nodes import Place, place
from tests.support.postgres import Cluster, run_aside

MIB = 1 << 20
KEY = "[auth]\ntoken-keys = ['q8Zk1mN4vR7xT0wY3bF6hJ9sD2gL5pCe']\n"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Serve, Serve]]:
    """Two nodes, the second with two workers, which have users and API keys."""
    with place(tmp_path_factory.mktemp("two")) as here:
        htpasswd(here.folder)
        here.write(f"[server]\naccess-log = false\n{KEY}api-keys = true\n{TOML}")
        with here.node("a") as first, here.node("b", "--workers", "2") as second:
            yield here, first, second


def send(
    server: Serve, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = server.http()
    connection.request(method, path, body, dict(headers or {}))
    response = connection.getresponse()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


def begin(server: Serve, headers: dict[str, str] | None = None) -> str:
    """The path of a new upload, which every node has."""
    status, answer, body = send(server, "POST", "/v2/team/app/blobs/uploads/", headers=headers)
    assert status == 202, body
    return urlsplit(answer["location"]).path


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_two_nodes_are_one_registry(two: tuple[Place, Serve, Serve]) -> None:
    here, first, second = two
    content = os.urandom(9 * MIB)
    scope = quote("repository:team/app:pull,push,delete")
    status, body = first.get(f"/v2/token?scope={scope}", headers=basic("alice"))
    assert status == 200
    # Issued by one node, and accepted by both.
    token = bearer(json.loads(body)["token"])
    upload = begin(first, token)
    for server, start in ((first, 0), (second, 3 * MIB), (first, 6 * MIB)):
        part = content[start : start + 3 * MIB]
        span = f"{start}-{start + len(part) - 1}"
        status, _, body = send(server, "PATCH", upload, part, {"content-range": span, **token})
        assert status == 202, body
    status, _, body = send(second, "PUT", f"{upload}?digest={digest_of(content)}", headers=token)
    assert status == 201, body
    status, _, body = send(
        second, "PUT", "/v2/team/app/manifests/v1", manifest(), {"content-type": MANIFEST_TYPE, **token}
    )
    assert status == 201, body
    for server in (first, second):
        assert send(server, "GET", f"/v2/team/app/blobs/{digest_of(content)}", headers=token)[2] == content
        assert send(server, "GET", "/v2/team/app/manifests/v1", headers=token)[2] == manifest()
        assert server.get("/readyz") == (200, b"ok\n")
        said = server.printed()
        assert f"and {here.bucket.url}/prefix" in said
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        for pid in (server.pid, *children):
            said += Path(f"/proc/{pid}/cmdline").read_bytes().decode()
        assert not [secret for secret in here.secrets if secret in said]
    assert not list(here.folder.rglob("registry.db"))


def test_a_key_that_is_revoked_ends_on_every_node(two: tuple[Place, Serve, Serve]) -> None:
    here, first, second = two

    def key(*arguments: str) -> str:
        """Run `ociserver key`, as on a machine that is no node."""
        file = here.folder / "registry.toml"
        done = CliRunner().invoke(main, ["key", *arguments, "--config", str(file)], env=here.environment)
        assert done.exit_code == 0, done.output
        return done.stdout.strip()

    def statuses() -> set[int]:
        # More than once, so that both workers answer.
        return {server.get("/v2/", headers=way)[0] for way in ways for server in (first, *[second] * 8)}

    ways = [basic("ci", key("create", "ci", "--repositories", "team/*", "--allow", "pull"))]
    ways.append(bearer(json.loads(first.get("/v2/token", headers=ways[0])[1])["token"]))
    assert statuses() == {200}
    key("revoke", "ci")
    assert statuses() == {401}


def test_clients_are_redirected_if_the_file_says_so(here: Place) -> None:
    content = os.urandom(2 * MIB)
    path = f"/v2/team/app/blobs/{digest_of(content)}"
    here.write(objects="redirect = true")
    with here.node("a") as server:
        assert send(server, "POST", f"/v2/team/app/blobs/uploads/?digest={digest_of(content)}", content)[0] == 201
        status, answer, _ = send(server, "GET", path)
        assert status == 307
        url = urlsplit(answer["location"])
        assert url.port == here.bucket.port
        storage = HTTPConnection("127.0.0.1", here.bucket.port, timeout=30)
        storage.request("GET", f"{url.path}?{url.query}")
        assert storage.getresponse().read() == content
        storage.close()
        # What `[options]` says counts more.
        here.write("[options]\nredirect-pulls = false\n", objects="redirect = true")
        server.signal(signal.SIGHUP)
        server.wait_for("the configuration was reloaded")
        assert send(server, "GET", path)[2] == content
        here.write(objects="redirect = true\npart-size = '16MiB'")
        server.signal(signal.SIGHUP)
        server.wait_for("these settings take effect only after a restart: database or objects")
        text = here.write().read_text()
        (here.folder / "registry.toml").write_text(text.replace("/prefix", "/other"))
        server.signal(signal.SIGHUP)
        server.wait_for("/other is not open, and a reload opens no stores. Restart the server.")
        assert send(server, "GET", path)[0] == 307


@pytest.mark.parametrize("flag", [("--data", "x"), ("--durability", "off"), ("--group-readable",)])
def test_flags_of_a_folder_are_refused(flag: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text('[registry]\nkind = "store"\ndatabase = "postgresql://a@b/c"\nobjects = { url = "s3://d" }\n')
    said = refused("serve", "--config", str(file), *flag)
    assert f"{flag[0]} cannot be used: the store of the configuration file is in a database and a bucket" in said


def test_one_node_collects_at_a_time(here: Place) -> None:
    here.write(keys='collect-every = "1s"\nunreferenced-after = 0\ngrace = 0')
    with here.node("a") as first, here.node("b") as second:

        async def have_the_lease() -> None:
            database = PostgreSQL(here.database)
            await database.open()
            async with database.lease(COLLECTION):
                content = b"a blob without a manifest"
                path = f"/v2/a/blobs/uploads/?digest={digest_of(content)}"
                assert (await asyncio.to_thread(send, first, "POST", path, content))[0] == 201
                for server in (first, second):
                    await asyncio.to_thread(
                        server.wait_for, "another collection is running; the next attempt is in 1 s"
                    )
            await database.close()

        run_aside(have_the_lease())
        eventually(
            lambda: any("collected 1 unreferenced" in each.printed() for each in (first, second)),
            "a collection by one of the nodes",
            lambda: first.printed() + second.printed(),
        )
        for server in (first, second):
            assert "collection failed" not in server.printed()


def test_a_stop_lets_another_node_continue(here: Place) -> None:
    here.write()
    content = os.urandom(6 * MIB)
    half = len(content) // 2
    with here.node("a", "--graceful-timeout", "300ms") as first, here.node("b") as second:
        upload = begin(first)
        slow = first.connect()
        head = f"PATCH {upload} HTTP/1.1\r\nHost: x\r\nContent-Range: 0-{len(content) - 1}\r\n"
        slow.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content[:half])
        time.sleep(0.2)
        first.signal(signal.SIGTERM)
        first.exit_status()
        status, answer, _ = send(second, "GET", upload)
        assert status == 204
        # Released, so no lease has to expire; what was stored counts.
        start = int(answer["range"].partition("-")[2]) + 1 if answer["range"] != "0-0" else 0
        rest = content[start:]
        status, _, body = send(second, "PATCH", upload, rest, {"content-range": f"{start}-{len(content) - 1}"})
        assert status == 202, body
        assert send(second, "PUT", f"{upload}?digest={digest_of(content)}")[0] == 201


def test_readiness_says_that_the_database_is_down_and_does_not_flap(tmp_path: Path) -> None:
    """What it says of a bucket is in tests/store/objects/test_faults.py."""
    reason = "the registry's database cannot be reached"
    cluster = Cluster("fsync=off")
    try:
        with place(tmp_path, cluster.create("registry")) as here:
            here.write()
            with here.node("a") as server:
                seen: list[tuple[int, str]] = []
                _look(server, seen, 0.3)
                cluster.stop()
                _look(server, seen, 30, until=503)
                told = ociserver("health", f"http://127.0.0.1:{server.port}")
                assert (told.status, reason in told.stderr) == (1, True)
                _look(server, seen, 1)
                cluster.start()
                _look(server, seen, 30, until=200)
                _look(server, seen, 1)
                assert seen == [(200, "ok"), (503, reason), (200, "ok")]
    finally:
        cluster.close()


def _look(server: Serve, seen: list[tuple[int, str]], seconds: float, until: int = 0) -> None:
    """Add the answers of `/readyz`, each once if it is the same as the one before."""
    content = os.urandom(MIB)
    end = time.monotonic() + seconds
    while time.monotonic() < end and (not until or seen[-1][0] != until):
        # A client that uses the registry meanwhile.
        with closing(HTTPConnection("127.0.0.1", server.port, timeout=60)) as client:
            client.request("POST", f"/v2/team/app/blobs/uploads/?digest={digest_of(content)}", content)
            client.getresponse().read()
            client.request("GET", "/readyz")
            response = client.getresponse()
            answer = response.status, response.read().decode().strip()
        if seen[-1:] != [answer]:
            seen.append(answer)
        time.sleep(0.02)


def test_a_start_without_the_database(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text(
        '[registry]\nkind = "store"\ndatabase = "postgresql://a:hidden@127.0.0.1:1/b"\nobjects = { url = "s3://c" }\n'
    )
    done = run_to_end("--config", str(file), "--port", "0")
    assert done.returncode == 1
    assert "the store could not be opened: the database cannot be used: " in done.stdout
    assert "`ociserver config check FILE --connect` says what to do" in done.stdout
    assert "hidden" not in done.stdout + done.stderr
