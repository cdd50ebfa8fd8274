"""`ociserver bench` against registries that require credentials."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any, Final, Literal

import pytest

from ociserver import Handler, Memory
from tests.cli.process import clean_environment
from tests.serving.site import Site
from tests.serving.uvicorn_here import serve_here

USER: Final = base64.b64encode(b"user:secret").decode()
QUICK: Final = ("--seconds", "0.1", "--clients", "2", "--entries", "40", "--repository", "work/bench")


class Gate:
    """An ASGI application that requires a password, or a token that was issued for the password.

    `ociserver.compose.AccessChecker` would not do here: this test is about the HTTP of authentication.
    """

    def __init__(self, scheme: Literal["Basic", "Bearer"]) -> None:
        self.scheme = scheme
        self.handler = Handler(Memory())
        self.scopes: list[str] = []
        self.site: Site | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.handler(scope, receive, send)
            return
        shown = dict(scope["headers"]).get(b"authorization", b"").decode()
        if scope["path"] == "/token":
            self.scopes.append(scope["query_string"].decode())
            token = json.dumps({"token": "let-me-in", "expires_in": 300}).encode()
            await self._answer(send, 200 if shown == f"Basic {USER}" else 401, {}, token)
        elif shown == ("Bearer let-me-in" if self.scheme == "Bearer" else f"Basic {USER}"):
            await self.handler(scope, receive, send)
        else:
            assert self.site
            realm = f"{self.site.url}/token" if self.scheme == "Bearer" else "registry"
            await self._answer(send, 401, {"www-authenticate": f'{self.scheme} realm="{realm}"'}, b"{}")

    async def _answer(self, send: Any, status: int, headers: dict[str, str], body: bytes) -> None:
        fields = [(name.encode(), value.encode()) for name, value in headers.items()]
        fields.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body})


async def bench(gate: Gate, folder: Path, password: str | None, only: str) -> tuple[int | None, str, str]:
    """Run the command, with or without stored credentials. Returns exit status, stdout and stderr."""
    async with serve_here(gate) as site:
        gate.site = site
        if password is not None:
            # The format of `docker login`.
            entry = {"auth": base64.b64encode(f"user:{password}".encode()).decode()}
            config = {"auths": {site.url.removeprefix("http://"): entry}}
            (folder / "config.json").write_text(json.dumps(config))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ociserver", "bench", site.url, *QUICK, "--only", only, "--json", "-"),
            env=clean_environment({"DOCKER_CONFIG": str(folder), "HOME": str(folder)}),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_it_uses_the_credentials_of_docker_login(scheme: Literal["Basic", "Bearer"], tmp_path: Path) -> None:
    gate = Gate(scheme)
    status, output, errors = asyncio.run(bench(gate, tmp_path, "secret", "image-push,catalog-page"))
    assert status == 0, errors
    report = json.loads(output)
    for workload in report["workloads"]:
        assert (workload["failed"], workload["errors"]) == (None, {})
        assert workload["count"] > 0
    assert report["not_deleted"] == {}
    if scheme == "Bearer":
        # One token for each set of scopes: to push, to delete, and for the catalog.
        asked = "\n".join(gate.scopes)
        assert "repository%3Awork%2Fbench%2F0%3Apull%2Cpush" in asked
        assert "repository%3Awork%2Fbench%2F0%3Adelete%2Cpull" in asked
        assert "registry%3Acatalog%3A%2A" in asked


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
@pytest.mark.parametrize("password", [None, "wrong"])
def test_missing_or_wrong_credentials(scheme: Literal["Basic", "Bearer"], password: str | None, tmp_path: Path) -> None:
    status, output, errors = asyncio.run(bench(Gate(scheme), tmp_path, password, "blob-head"))
    assert (status, output) == (1, "")
    assert "try `docker login 127.0.0.1:" in errors
    assert "Traceback" not in errors
    assert "wrong" not in errors
