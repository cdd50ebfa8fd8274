"""`ociserver serve` behind a real nginx: which address the access log has."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.cli.process import Serve, serving
from tests.serving.site import Site
from tests.support import nginx
from tests.support.server import free_port
from tests.support.tools import require_tool

CLIENT = "127.0.0.2"
"""The address of the client. nginx has 127.0.0.1."""

X_FORWARDED = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
FORWARDED = 'proxy_set_header Forwarded "for=$remote_addr;proto=$scheme";'


@contextmanager
def proxy(folder: Path, upstream: int, headers: str, address: str = "127.0.0.1") -> Iterator[Site]:
    require_tool("nginx")
    folder.mkdir()
    port = free_port()
    server = f"server {{ listen {address}:{port}; location / {{ proxy_pass http://127.0.0.1:{upstream}; {headers} }} }}"
    with nginx.run(folder, port, server) as site:
        yield site


def get(port: int, headers: dict[str, str], host: str = "127.0.0.1", source: str = CLIENT) -> None:
    with closing(HTTPConnection(host, port, timeout=30, source_address=(source, 0))) as connection:
        connection.request("GET", "/v2/", headers=headers)
        assert connection.getresponse().status == 200


def clients(server: Serve) -> list[str]:
    server.signal(signal.SIGTERM)
    server.exit_status()
    lines = [json.loads(line) for line in server.printed().splitlines()]
    return [line["client"] for line in lines if line["message"] == "request"]


@pytest.mark.parametrize(
    "kind, headers, claim",
    [
        ("x-forwarded", X_FORWARDED, {"X-Forwarded-For": "1.2.3.4"}),
        ("forwarded", FORWARDED, {"Forwarded": "for=1.2.3.4", "X-Forwarded-For": "1.2.3.4"}),
    ],
)
def test_the_client_behind_one_proxy_and_behind_two(
    tmp_path: Path, kind: str, headers: str, claim: dict[str, str]
) -> None:
    flags = ["--log-format", "json", "--trusted-proxies", "127.0.0.1,::1", "--proxy-headers", kind]
    with serving(tmp_path, *flags) as server, proxy(tmp_path / "inner", server.port, headers) as inner:
        get(server.port, claim)
        get(inner.port, claim)
        if kind == "x-forwarded":
            with proxy(tmp_path / "outer", inner.port, headers) as outer:
                get(outer.port, claim)
            with proxy(tmp_path / "six", server.port, headers, "[::1]") as six:
                get(six.port, claim, "::1", "::1")
        found = clients(server)
    # The last one is itself in a trusted network, so what it claims is believed.
    assert found == ([CLIENT, CLIENT, CLIENT, "1.2.3.4"] if kind == "x-forwarded" else [CLIENT, CLIENT])


def test_proxies_of_the_file_are_read_again_on_sighup(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    memory = '[registry]\nkind = "memory"\n'
    file.write_text(memory)
    with (
        serving(tmp_path, "--config", str(file), "--log-format", "json") as server,
        proxy(tmp_path / "nginx", server.port, X_FORWARDED) as site,
    ):
        get(site.port, {})
        file.write_text(f'[server]\ntrusted-proxies = ["127.0.0.1"]\n{memory}')
        server.signal(signal.SIGHUP)
        server.wait_for("the configuration was reloaded")
        get(site.port, {})
        assert clients(server) == ["127.0.0.1", CLIENT]
        assert "restart" not in server.printed()
