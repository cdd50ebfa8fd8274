"""Two servers, an image in one of them, and functions that run commands."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ociserver.cli import main
from ociserver.client import Client
from tests.cli.process import Serve, clean_environment, serving
from tests.copy.images import Images, fill
from tests.serving.uvicorn_here import serve_here

TIMEOUT_S = 60


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass(frozen=True, slots=True)
class Done:
    """The result of a command."""

    status: int
    stdout: bytes
    stderr: str

    @property
    def lines(self) -> list[str]:
        return self.stdout.decode().splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


def ociserver(*arguments: str, home: Path | None = None) -> Done:
    """Run a command, as a user without credentials."""
    done = subprocess.run(
        [sys.executable, "-m", "ociserver", *arguments],
        env=_environment(home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr.decode())


async def ociserver_here(*arguments: str, home: Path | None = None) -> Done:
    """Run a command while servers run on this event loop."""
    return await asyncio.to_thread(ociserver, *arguments, home=home)


def refused(*arguments: str) -> str:
    """The one-line message for a wrong command line. Runs in this process, because nothing else happens."""
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    return " ".join(result.stderr.split())


def _environment(home: Path | None) -> dict[str, str]:
    nowhere = str(home or "/nonexistent")
    return clean_environment({"HOME": nowhere, "DOCKER_CONFIG": nowhere, "XDG_RUNTIME_DIR": nowhere})


def canned(status: int, body: bytes, **headers: str) -> Any:
    """An application that always sends the same answer. (`tests.client.scripted` does not recognise TLS.)"""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return application


@asynccontextmanager
async def serve_backend(application: Any) -> AsyncIterator[str]:
    """Run a server on this event loop. Yields its `host:port`."""
    async with serve_here(application, lifespan="auto") as site:
        yield f"{site.host}:{site.port}"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serve, Serve]]:
    with (
        serving(tmp_path_factory.mktemp("first"), "--log-format", "json") as first,
        serving(tmp_path_factory.mktemp("second"), "--log-format", "json") as second,
    ):
        yield first, second


def address(server: Serve) -> str:
    return f"127.0.0.1:{server.port}"


def filled(server: Serve, repository: str, large: bytes = b"") -> Images:
    """Push the same images to a server."""

    async def push() -> Images:
        async with Client(f"http://{address(server)}") as client:
            return await fill(client, repository, large)

    return asyncio.run(push())
