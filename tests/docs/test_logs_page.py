"""docs/logs.md: rotation with the settings of the page, while the server writes."""

from __future__ import annotations

import signal
import subprocess
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

from tests.cli.process import clean_environment, command, eventually
from tests.docs.pages import block
from tests.support.server import free_port
from tests.support.tools import require_tool


def test_logrotate(tmp_path: Path) -> None:
    program, log, port = str(require_tool("logrotate")), tmp_path / "ociserver.log", free_port()
    settings = tmp_path / "logrotate.conf"
    settings.write_text(block("logs.md", "/var/log/ociserver.log", {"/var/log/ociserver.log": str(log)}))
    settings.chmod(0o600)
    # As the page says: opened for appending.
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command(), "--memory", "--port", str(port)], env=clean_environment(None), stdout=output, stderr=output
        )
    try:
        eventually(lambda: b"listens on" in log.read_bytes(), "the first lines", log.read_text)
        subprocess.run([program, "--force", "--state", str(tmp_path / "state"), str(settings)], check=True, timeout=60)
        assert b"listens on" in (tmp_path / "ociserver.log.1").read_bytes()
        assert log.read_bytes() == b""
        get(port)
        eventually(lambda: b"/v2/after" in log.read_bytes(), "a line after the rotation", log.read_text)
        assert b"\0" not in log.read_bytes(), "the server has written behind the end of the truncated file"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def get(port: int) -> None:
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", "/v2/after/tags/list")
        connection.getresponse().read()
