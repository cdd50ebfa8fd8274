"""docs/proxies.md: a large push and pull, and a sign-in, through nginx with the settings of the page."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import ssl
import subprocess
from contextlib import closing
from http.client import HTTPSConnection
from pathlib import Path

from tests.auth.registry import TOML, htpasswd
from tests.cli.process import serving
from tests.docs.pages import block
from tests.support import nginx
from tests.support.authority import Authority
from tests.support.server import free_port
from tests.support.tools import require_tool

SIZE = 300 << 20
PIECE = bytes(range(256)) * 4096


def test_a_large_layer_through_nginx(tmp_path: Path) -> None:
    require_tool("nginx")
    oras, port = str(require_tool("oras")), free_port()
    authority = Authority(tmp_path, "authority")
    issued = authority.issue("server", server=True)
    htpasswd(tmp_path)
    settings = block("proxies.md", "[server]", {'", "10.0.0.0/8': ""})
    (tmp_path / "registry.toml").write_text(f'{settings}[registry]\nkind = "store"\ndata = "data"\n{TOML}')
    own = tmp_path / "nginx"
    own.mkdir()
    with serving(tmp_path, "--config", str(tmp_path / "registry.toml"), "--log-format", "json") as server:
        page = block(
            "proxies.md",
            "upstream ociserver",
            {
                "127.0.0.1:5000": f"127.0.0.1:{server.port}",
                "listen 443": f"listen 127.0.0.1:{port}",
                "registry.example": "localhost",
                "/etc/nginx/registry.pem": str(issued.cert),
                "/etc/nginx/registry.key": str(issued.key),
            },
        )
        with nginx.run(own, port, page):
            repository = f"localhost:{port}/team/large"
            push_and_pull(oras, repository, authority.file, tmp_path)
            # From another address than that of nginx, which is trusted.
            source, context = ("127.0.0.2", 0), ssl.create_default_context(cafile=authority.file)
            with closing(HTTPSConnection("localhost", port, source_address=source, context=context)) as connection:
                connection.request("GET", "/v2/", headers={"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Host": "evil"})
                challenge = connection.getresponse().headers["WWW-Authenticate"]
        assert f'realm="https://localhost:{port}/v2/token"' in challenge
        # nginx warns of each body that it writes to its disk.
        assert "buffered to a temporary file" not in (own / "error.log").read_text()
        server.signal(signal.SIGTERM)
        server.exit_status()
    lines = [json.loads(line) for line in server.printed().splitlines()]
    requests = [line for line in lines if line["message"] == "request"]
    assert requests[-1]["client"] == "127.0.0.2"
    assert max(line["received_bytes"] for line in requests) == max(line["sent_bytes"] for line in requests) == SIZE


def push_and_pull(oras: str, repository: str, ca: Path, folder: Path) -> None:
    pushed, pulled = folder / "layer", folder / "pulled"
    sha256 = hashlib.sha256()
    with pushed.open("wb") as file:
        for _ in range(SIZE // len(PIECE)):
            file.write(PIECE)
            sha256.update(PIECE)
    environment = os.environ | {"DOCKER_CONFIG": str(folder)}
    common = [
        "--plain-http=false",
        "--ca-file",
        str(ca),
        "--username",
        "alice",
        "--password",
        "alice's secret",
        "--no-tty",
    ]
    for command in (["push", f"{repository}:v1", "layer"], ["pull", f"{repository}:v1", "--output", str(pulled)]):
        verb, *rest = command
        subprocess.run([oras, verb, *common, *rest], cwd=folder, env=environment, check=True, timeout=100)
    with (pulled / "layer").open("rb") as file:
        assert hashlib.file_digest(file, "sha256").digest() == sha256.digest()
