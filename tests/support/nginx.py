"""Runs nginx with a given `server`, for tests and for benchmarks."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.serving.site import Site

__all__ = ["PROGRAM", "is_installed", "run"]

_OURS: Final = Path(__file__).parents[2] / ".tools" / "bin" / "nginx"
PROGRAM: Final = shutil.which("nginx") or (str(_OURS) if _OURS.exists() else "/usr/sbin/nginx")

_CONFIGURATION: Final = """\
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
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
    return Path(PROGRAM).exists()


@contextmanager
def run(folder: Path, port: int, server: str) -> Iterator[Site]:
    """Run nginx with one worker process until the block ends.

    Args:
        folder: for nginx's own files.
        port: that `server` listens on.
        server: what stands in the block `http`.
    """
    file = folder / "nginx.conf"
    # Without it, the worker would have no right to files of root.
    user = "user root;" if os.geteuid() == 0 else ""
    file.write_text(_CONFIGURATION.format(user=user, folder=folder, server=server))
    process = subprocess.Popen([PROGRAM, "-c", str(file), "-e", str(folder / "error.log")])
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
