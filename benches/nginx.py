"""Runs nginx with static files or in front of a server, as a bound for serving a file or for a hop."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.serving.site import Site
from tests.support.server import free_port

_OURS: Final = Path(__file__).parents[1] / ".tools" / "bin" / "nginx"
_NGINX: Final = shutil.which("nginx") or (str(_OURS) if _OURS.exists() else "/usr/sbin/nginx")

EVERY: Final = "every"
"""The file that answers every path if `one_file` is set."""

_CONFIGURATION: Final = """\
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_processes 1;
events {{ worker_connections 512; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  {server}
}}
"""


def is_installed() -> bool:
    return Path(_NGINX).exists()


_STATIC: Final = "server {{ listen 127.0.0.1:{port}; root {root}; {every} }}"

_PROXY: Final = """\
upstream registry {{ server {host}:{upstream_port}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 0;
    proxy_request_buffering off;
    proxy_buffers 8 256k;
    proxy_buffer_size 256k;
    proxy_busy_buffers_size 512k;
    proxy_max_temp_file_size 0;
    location / {{ proxy_pass http://registry; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}"""
"""Keeps connections open and writes nothing to the disk. Its buffers are as large as the pieces of our handler."""


@contextmanager
def serve_files(root: Path, folder: Path, *, one_file: bool = False) -> Iterator[Site]:
    """Serve the files of `root` with one process until the block ends.

    Args:
        root: the folder to serve.
        folder: the folder for nginx's own files.
        one_file: answer every path with the file `EVERY`.
    """
    port = free_port()
    every = f"rewrite ^ /{EVERY} break;" if one_file else ""
    with _run(folder, port, _STATIC.format(port=port, root=root, every=every)) as site:
        yield site


@contextmanager
def serve_proxy(upstream: Site, folder: Path) -> Iterator[Site]:
    """Proxy to another server with one process until the block ends. Its own files go into `folder`."""
    port = free_port()
    with _run(folder, port, _PROXY.format(port=port, host=upstream.host, upstream_port=upstream.port)) as site:
        yield site


@contextmanager
def _run(folder: Path, port: int, server: str) -> Iterator[Site]:
    file = folder / "nginx.conf"
    file.write_text(f"user root;\n{_CONFIGURATION.format(folder=folder, server=server)}")
    process = subprocess.Popen([_NGINX, "-c", str(file), "-e", str(folder / "error.log")])
    try:
        yield Site("127.0.0.1", port, _worker(process, folder))
    finally:
        process.terminate()
        process.wait(10)


def _worker(process: subprocess.Popen[bytes], folder: Path) -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    for _ in range(100):
        if process.poll() is not None:
            raise RuntimeError(f"nginx did not start: {(folder / 'error.log').read_text()}")
        if found := children.read_text().split():
            return int(found[0])
        time.sleep(0.05)
    raise TimeoutError("nginx did not start")
