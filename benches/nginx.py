"""nginx with a folder of static files, as a bound of what serving a file can cost."""

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

_NGINX: Final = shutil.which("nginx") or "/usr/sbin/nginx"

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
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


def is_installed() -> bool:
    return Path(_NGINX).exists()


@contextmanager
def serve_files(root: Path, folder: Path) -> Iterator[Site]:
    """Serve the files of `root` until the block ends, with one process; its own files go into `folder`."""
    port = free_port()
    file = folder / "nginx.conf"
    file.write_text(f"user root;\n{_CONFIGURATION.format(folder=folder, root=root, port=port)}")
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
