"""What a registry needs beside it runs as long as the registry, and tells it where it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from benches.compare.contenders import started
from benches.compare.peers import Peer

# Answers every request with the variable WHERE.
REGISTRY = """
import http.server, os, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["WHERE"].encode())
    def log_message(self, *arguments):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


def test_what_runs_beside_a_registry(tmp_path: Path) -> None:
    steps: list[str] = []

    @contextmanager
    def beside(folder: Path) -> Iterator[Mapping[str, str]]:
        steps.append("begins")
        yield {"WHERE": folder.name}
        steps.append("ends")

    def command(binary: Path, folder: Path, port: int) -> tuple[str, ...]:
        steps.append("starts")
        return (str(binary), "-c", REGISTRY, str(port))

    peer = Peer("registry", "registry", command, switch="none", beside=beside)
    with started(peer, Path(sys.executable), tmp_path / "registry") as (_, port):
        assert urlopen(f"http://127.0.0.1:{port}/v2/", timeout=10).read() == b"beside"
        assert steps == ["begins", "starts"]
    assert steps == ["begins", "starts", "ends"]
