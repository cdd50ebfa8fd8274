"""The examples, each served by granian as its documents say, in front of real registries."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from ociserver.client import Client, RetryPolicy
from tests.cli.process import Serve, serving
from tests.contract.contents import IMAGE, collect, digest_of, push_blob, push_image, read_blob, tags_of
from tests.contract.errors import refused
from tests.serving.granian_process import serve_with_granian
from tests.serving.site import Site

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).parents[2] / "examples"
HURRIED = RetryPolicy(attempts=2, backoff_s=0.001)

Run = Callable[..., AbstractContextManager[Site]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Serves an example with these variables."""

    @contextmanager
    def running(name: str, **variables: str) -> Iterator[Site]:
        # Nobody is logged in.
        for variable, value in {"DATA": str(tmp_path / "data"), "DOCKER_CONFIG": str(tmp_path), **variables}.items():
            monkeypatch.setenv(variable, value)
        with serve_with_granian(f"examples.{name}:app", tmp_path / "log", "--workers", "1") as site:
            yield site

    return running


@pytest.fixture
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """The one elsewhere."""
    with serving(tmp_path_factory.mktemp("registry")) as server:
        yield server


def client_of(site: Site) -> Client:
    return Client(site.url, retries=HURRIED)


def url_of(server: Serve) -> str:
    return f"http://127.0.0.1:{server.port}"


async def test_a_cache_in_front_of_a_registry(registry: Serve, run: Run) -> None:
    async with Client(url_of(registry)) as upstream:
        image = await push_image(upstream, "v1", layers=[b"layer"], repository="group/app")
    with run("cache", UPSTREAM=url_of(registry)) as site:
        async with client_of(site) as client:
            for is_up in (True, False):
                assert (await client.get_tag("group/app", "v1")).content == image
                assert await read_blob(client, digest_of(b"layer"), repository="group/app") == b"layer"
                if is_up:
                    registry.process.kill()
                    registry.process.wait()
            with refused("DENIED"):
                await push_blob(client, b"mine", "group/app")


async def test_a_read_only_public_face_of_a_private_registry(registry: Serve, run: Run) -> None:
    async with Client(url_of(registry)) as private:
        image = await push_image(private, "v1", layers=[b"layer"], repository="public/app")
        await push_image(private, "v1", layers=[b"secret"], repository="team/secret")
    with run("public_face", PRIVATE=url_of(registry)) as site:
        async with client_of(site) as client:
            assert await collect(client.repositories()) == ["app"]
            assert (await client.get_tag("app", "v1")).content == image
            assert await read_blob(client, digest_of(b"layer"), repository="app") == b"layer"
            for hidden in ("team/secret", "secret"):
                with refused("NAME_UNKNOWN"):
                    await tags_of(client, hidden)
            with refused("UNSUPPORTED"):
                await push_blob(client, b"mine", "app")
            with refused("UNSUPPORTED"):
                await client.delete_tag("app", "v1")


async def test_two_registries_behind_one(registry: Serve, run: Run) -> None:
    async with Client(url_of(registry)) as shared:
        theirs = await push_image(shared, "v1", "v2", layers=[b"base"], repository="app")
        with run("two_registries", SHARED=url_of(registry)) as site:
            async with client_of(site) as client:
                assert (await client.get_tag("app", "v1")).content == theirs
                mine = await push_image(client, "v1", "mine", layers=[b"base", b"mine"], repository="app")
                assert await tags_of(client, "app") == ["mine", "v1", "v2"]
                assert (await client.get_tag("app", "v1")).content == mine
                assert await read_blob(client, digest_of(b"base"), repository="app") == b"base"
                # Of the shared one nothing has changed, and it is seen again where nothing lies over it.
                assert await tags_of(shared, "app") == ["v1", "v2"]
                await client.delete_tag("app", "v1")
                assert (await client.get_tag("app", "v1")).content == theirs


async def test_a_fastapi_application_with_a_registry_inside(run: Run) -> None:
    with run("fastapi_app") as site:
        async with client_of(site) as client:
            image = await push_image(client, "v1", layers=[b"layer"], repository="group/app")
            assert (await client.get_tag("group/app", "v1")).descriptor.media_type == IMAGE
            assert await read_blob(client, digest_of(b"layer"), repository="group/app") == b"layer"
        pages = {}
        for name in ("group/app", "unknown"):
            connection = HTTPConnection(site.host, site.port, timeout=30)
            connection.request("GET", f"/images/{name}")
            answer = connection.getresponse()
            pages[name] = answer.status, json.loads(answer.read())
            connection.close()
        assert pages["group/app"] == (200, {"v1": digest_of(image)})
        assert pages["unknown"][0] == 404


def test_every_example_is_listed_and_run() -> None:
    files = {path.name for path in EXAMPLES.glob("*.py")}
    listed = set(re.findall(r"^\| \[([a-z_]+\.py)\]\(\1\)", (EXAMPLES / "README.md").read_text(), re.MULTILINE))
    run = set(re.findall(r'run\("([a-z_]+)"', Path(__file__).read_text()))
    assert files == listed == {f"{name}.py" for name in run}
