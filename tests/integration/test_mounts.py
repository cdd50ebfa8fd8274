"""A registry below a prefix of somebody's application: every Location and every Link carries it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.integration import applications
from tests.integration.applications import PREFIX
from tests.serving.granian_process import serve_with_granian
from tests.serving.uvicorn_thread import serve_with_uvicorn

CONTENT = b"content"
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"

MODULE = "tests.integration.applications"


@pytest.fixture(
    params=[
        "starlette on uvicorn",
        "fastapi on uvicorn",
        "starlette on granian",
        "prefix of granian",
        "root_path of uvicorn",
    ]
)
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[httpx.Client]:
    with ExitStack() as stack:
        enter = stack.enter_context
        match request.param:
            case "starlette on uvicorn":
                site = enter(serve_with_uvicorn(applications.starlette(), lifespan="on"))
            case "fastapi on uvicorn":
                site = enter(serve_with_uvicorn(applications.fastapi(), lifespan="on"))
            case "starlette on granian":
                site = enter(serve_with_granian(f"{MODULE}:starlette_app", tmp_path / "log"))
            case "prefix of granian":
                site = enter(serve_with_granian(f"{MODULE}:plain_app", tmp_path / "log", "--url-path-prefix", PREFIX))
            case _:
                # A proxy takes the prefix off, and uvicorn puts it into the scope again.
                site = enter(serve_with_uvicorn(applications.plain(), lifespan="on", root_path=PREFIX))
        base = site.url if request.param == "root_path of uvicorn" else site.url + PREFIX
        yield enter(httpx.Client(base_url=base, timeout=30))


def _path(client: httpx.Client, url: str) -> str:
    """A URL of an answer, as this client has to ask for it: through the proxy, where there is one."""
    assert url.startswith(f"{PREFIX}/v2/"), url
    return url.removeprefix(PREFIX)


def test_an_upload_is_followed_by_its_locations(client: httpx.Client) -> None:
    started = client.post("/v2/foo/blobs/uploads/")
    assert started.status_code == 202
    patched = client.patch(_path(client, started.headers["location"]), content=CONTENT[:3])
    assert patched.status_code == 202
    location = _path(client, patched.headers["location"])
    status = client.get(location)
    assert (status.status_code, status.headers["range"]) == (204, "0-2")
    done = client.put(
        f"{location}?digest={DIGEST}", content=CONTENT[3:], headers={"Content-Range": f"3-{len(CONTENT) - 1}"}
    )
    assert done.status_code == 201
    assert client.get(_path(client, done.headers["location"])).content == CONTENT


def test_pages_are_followed_by_their_links(client: httpx.Client) -> None:
    for tag in ("a", "b", "c"):
        pushed = client.put(
            f"/v2/foo/manifests/{tag}", content=b"{}", headers={"Content-Type": "application/vnd.example+json"}
        )
        assert pushed.status_code == 201
        assert client.get(_path(client, pushed.headers["location"])).content == b"{}"
    found: list[str] = []
    path = "/v2/foo/tags/list?n=1"
    while path:
        page = client.get(path)
        found += page.json()["tags"]
        path = _path(client, page.links["next"]["url"]) if "next" in page.links else ""
    assert found == ["a", "b", "c"]


def test_what_is_not_the_registry_is_the_application(client: httpx.Client) -> None:
    response = client.get("/v2/foo/unknown/x")
    assert (response.status_code, response.json()["errors"][0]["message"]) == (404, "page not found")
    beside = client.get("/v1/")
    assert beside.json()["errors"][0]["code"] == "NAME_UNKNOWN"
