"""Starts registries in front of a registry, each in its own process: ours, distribution's proxy mode, nginx."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.serving.site import Site
from tests.support.server import free_port, serve

DISTRIBUTION: Final = Path(__file__).parents[1] / ".tools" / "bin" / "distribution3"

_DISTRIBUTION: Final = """\
version: 0.1
log: {{ level: error, accesslog: {{ disabled: true }} }}
storage: {{ filesystem: {{ rootdirectory: {root}, maxthreads: 100 }} }}
http: {{ addr: "127.0.0.1:{port}" }}
proxy: {{ remoteurl: "{upstream}", ttl: 168h }}
"""


@contextmanager
def serve_upstream(folder: Path, *arguments: str) -> Iterator[tuple[Site, Path]]:
    """Start our store with an access log, which records the requests."""
    folder.mkdir()
    flags = ["--data", str(folder / "data"), "--access-log", "--collect-every", "0", "--lax-child-references"]
    with serve([*flags, *arguments], folder) as server:
        yield Site(server.host, server.port, server.pid), server.log


@contextmanager
def serve_cache(upstream: Site, folder: Path, *arguments: str) -> Iterator[Site]:
    """Start our cache over its own, empty store."""
    local = 'local = { kind = "store", data = "data" }'
    with _serve_file(folder, f'kind = "cache"\n{local}\nupstream = {_client(upstream)}', arguments) as site:
        yield site


@contextmanager
def serve_client(upstream: Site, folder: Path, *arguments: str) -> Iterator[Site]:
    """Start our server with a client of the other server as its backend."""
    with _serve_file(folder, f'kind = "client"\nurl = "{upstream.url}"', arguments) as site:
        yield site


@contextmanager
def serve_distribution_proxy(upstream: Site, folder: Path) -> Iterator[Site]:
    """Start distribution v3 in proxy mode, empty."""
    folder.mkdir()
    file, port = folder / "config.yml", free_port()
    file.write_text(_DISTRIBUTION.format(root=folder / "data", port=port, upstream=upstream.url))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([DISTRIBUTION, "serve", file], stdout=log, stderr=log)
    try:
        _wait_for(process, port)
        yield Site("127.0.0.1", port, process.pid)
    finally:
        process.terminate()
        process.wait(30)


def remove(folder: Path) -> None:
    """Free the disk space of a cache before the next one is filled."""
    shutil.rmtree(folder)


def _client(upstream: Site) -> str:
    return f'{{ kind = "client", url = "{upstream.url}" }}'


@contextmanager
def _serve_file(folder: Path, registry: str, arguments: Sequence[str]) -> Iterator[Site]:
    folder.mkdir()
    file = folder / "registry.toml"
    file.write_text(f"[registry]\n{registry}\n")
    with serve(["--config", str(file), "--no-access-log", *arguments], folder) as server:
        yield Site(server.host, server.port, server.pid)


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise RuntimeError(f"the registry exited with status {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("the registry did not start")
