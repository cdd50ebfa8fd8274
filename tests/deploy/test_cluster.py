"""`make serve-cluster`: an image goes in and out through nginx, also when a node was killed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from urllib3 import request

from tests.support.images import Layout, random_bytes
from tests.support.leaks import watched
from tests.support.postgres import unprivileged_folder
from tests.support.process import Process
from tests.support.server import free_port
from tests.support.tools import ROOT, require_tool

PROGRAM: Final = ROOT / "deploy" / "cluster" / "serve.py"
LAYER: Final = 20 << 20
"""More than one part in the bucket."""


@pytest.fixture(autouse=True)
def programs() -> None:
    """All that it starts is installed."""
    for tool in ("crane", "nginx", "s3-server"):
        require_tool(tool)
    if not any(Path("/usr/lib/postgresql").glob("*/bin")):
        require_tool("postgres")


def crane(*arguments: str | Path) -> str:
    done = subprocess.run([require_tool("crane"), *arguments], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout


@contextmanager
def serving(folder: Path, port: int, log: Path) -> Iterator[Process]:
    command = [sys.executable, str(PROGRAM), "--port", str(port), "--folder", str(folder)]
    process = Process(command, port, log)
    process.start()
    try:
        with watched(log, ["--config", str(folder / "registry.toml")]):
            yield process
    finally:
        # Not a kill: it has to stop what it has started.
        status = process.stop()
    assert status == 0, process.log_tail()


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_image_is_there_while_a_node_is_dead(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "in")
    layout.tag(layout.image(random_bytes(LAYER, seed=1)), "v1")
    port, log = free_port(), tmp_path / "log"
    image = f"localhost:{port}/some/image:v1"
    manifest = f"http://localhost:{port}/v2/some/image/manifests/v1"
    with unprivileged_folder() as folder:
        with serving(folder, port, log):
            crane("push", tmp_path / "in", image)
            assert crane("validate", "--remote", image).startswith("PASS")
            answers = [request("HEAD", manifest) for _ in range(4)]
            assert [answer.status for answer in answers] == [200] * 4
            assert len({answer.headers["x-node"] for answer in answers}) == 2

            pids = [int(pid) for pid in re.findall(r"process (\d+)", log.read_text())]
            assert f"kill -9 {pids[0]}\n" in log.read_text()
            os.kill(pids[0], signal.SIGKILL)
            assert crane("validate", "--remote", image).startswith("PASS")
            assert len({request("HEAD", manifest).headers["x-node"] for _ in range(4)}) == 1
        assert log.read_text().endswith("stopped\n")
        # Nothing of it runs any more.
        assert not any(runs(pid) for pid in pids)
        assert not (folder / "postgres" / "postmaster.pid").exists()


def test_a_port_that_is_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, str(PROGRAM), "--port", str(port), "--folder", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert done.stderr == f"serve-cluster: port {port} is in use: choose another one with --port\n"
