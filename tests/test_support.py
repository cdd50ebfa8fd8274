"""What the helpers of the tests must not let pass: a server that went wrong, a program that is missing."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.process import eventually
from tests.support.server import free_port, serve
from tests.support.tools import require_tool

ROOT = Path(__file__).parents[1]

# Takes the arguments of `ociserver serve`, answers /readyz, and then does what stands in WHAT.
FAKE = """
import http.server, sys, threading, time
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *arguments):
        pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[-1])), Ready)
threading.Thread(target=server.serve_forever, daemon=True).start()
WHAT
time.sleep(60)
"""


@pytest.mark.parametrize(
    "what, complaint",
    [
        ("time.sleep(0.5); sys.exit(7)", r"ended by itself \(7\)"),
        ("print('Traceback (most recent call last):', flush=True)", "printed a traceback"),
        ("import signal; signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))", "left with 3"),
        ("print('Authorization: Basic YWxpY2U6c2VjcmV0', flush=True)", "printed a secret"),
    ],
    ids=["ends", "traceback", "bad-status", "secret"],
)
def test_a_server_that_goes_wrong_fails_the_test(tmp_path: Path, what: str, complaint: str) -> None:
    program = [sys.executable, "-c", FAKE.replace("WHAT", what)]
    with pytest.raises(AssertionError, match=complaint), serve([], tmp_path, program=program):
        # Long enough for it to happen; what is at fault is found when the block ends.
        time.sleep(1)


def test_a_server_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "raise SystemExit('no such flag')"]
    with pytest.raises(RuntimeError, match="no such flag"), serve([], tmp_path, program=program):
        pytest.fail("there is no server")


@pytest.mark.parametrize("ci, outcome", [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_missing_program(monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no no-such-program"):
        require_tool("no-such-program")


# Starts a server, makes a folder, and is killed before it has ended the one and removed the other.
KILLED = """
import os, signal, sys
from pathlib import Path
from tests.support import lifeline
from tests.support.process import Process
port, folder = sys.argv[1:]
Path(folder).mkdir()
lifeline.add_folder(Path(folder))
command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", port]
Process(command, int(port), Path(folder, "log")).start()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_servers_end_with_a_run_that_is_killed(tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "folder"
    done = subprocess.run([sys.executable, "-c", KILLED, str(port), str(folder)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    eventually(lambda: not folder.exists() and not is_served(port), "the end of the server", str)


def is_served(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
