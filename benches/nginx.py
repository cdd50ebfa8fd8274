"""Runs nginx with static files or in front of a server, as a bound for serving a file or for a hop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.serving.site import Site
from tests.support.authority import Issued
from tests.support.nginx import is_installed, run
from tests.support.server import free_port

__all__ = ["EVERY", "is_installed", "serve_files", "serve_proxy"]

EVERY: Final = "every"
"""The file that answers every path if `one_file` is set."""

_STATIC: Final = "server {{ listen 127.0.0.1:{port}{tls}; root {root}; {every} }}"

_TLS: Final = " ssl; ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3"

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
def serve_files(
    root: Path, folder: Path, *, one_file: bool = False, certificate: Issued | None = None
) -> Iterator[Site]:
    """Serve the files of `root` with one process until the block ends.

    Args:
        root: the folder to serve.
        folder: the folder for nginx's own files.
        one_file: answer every path with the file `EVERY`.
        certificate: for HTTPS instead of HTTP.
    """
    port = free_port()
    every = f"rewrite ^ /{EVERY} break;" if one_file else ""
    tls = _TLS.format(cert=certificate.cert, key=certificate.key) if certificate else ""
    with run(folder, port, _STATIC.format(port=port, tls=tls, root=root, every=every)) as site:
        yield site


@contextmanager
def serve_proxy(upstream: Site, folder: Path) -> Iterator[Site]:
    """Proxy to another server with one process until the block ends. Its own files go into `folder`."""
    port = free_port()
    with run(folder, port, _PROXY.format(port=port, host=upstream.host, upstream_port=upstream.port)) as site:
        yield site
