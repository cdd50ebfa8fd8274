"""How many processes `serve` starts if nobody says, on machines with more cores than this one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.request import urlopen

import pytest

from ociserver.cli.workers import CORES_EACH, MOST
from tests.cli.process import Serve, serving
from tests.serve.test_workers import children
from tests.support.server import free_port
from tests.support.tools import cannot_run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")

Start = Callable[..., AbstractContextManager[Serve]]

UNIFIED = """
[registry]
kind = "unify"
reads = "concurrent"
writes = "all"
backends = [{ kind = "store", data = "one" }, { kind = "store", data = "two" }]
"""


WITH_ANOTHER = """
[registry]
kind = "unify"
backends = [{ kind = "store", data = "data" }, { kind = "client", url = "http://127.0.0.1:1" }]
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        cannot_run("a C compiler (cc) is needed to let the server see more cores")
    path = tmp_path_factory.mktemp("library") / "cores.so"
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *options, "-o", path, Path(__file__).with_name("cores.c")], check=True)
    command = (sys.executable, "-c", "from ociserver._core import usable_cores; print(usable_cores())")
    environment = {**os.environ, "LD_PRELOAD": str(path), "CORES": "64"}
    if int(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout) != 64:
        pytest.skip("a control group limits the cores of this process")
    return path


@pytest.fixture
def start(library: Path, tmp_path: Path) -> Start:
    def start(cores: int, *arguments: str) -> AbstractContextManager[Serve]:
        environment = {"LD_PRELOAD": str(library), "CORES": str(cores)}
        return serving(tmp_path, *arguments, environment=environment)

    return start


@pytest.mark.parametrize("cores,workers", [(2 * CORES_EACH, 2), (MOST * CORES_EACH + 32, MOST)])
def test_each_has_some_cores(start: Start, tmp_path: Path, cores: int, workers: int) -> None:
    port = free_port()
    with start(cores, "--data", str(tmp_path / "data"), "--metrics-address", str(port)) as server:
        assert len(children(server)) == workers
        page = urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
        assert f"ociserver_worker_starts_total {workers}.0\n" in page


@pytest.mark.parametrize(
    "cores,arguments",
    [
        (2 * CORES_EACH - 1, ("--data", "{folder}/data")),
        (64, ("--data", "{folder}/data", "--workers", "1")),
        (64, ("--memory",)),
        (64, ("--config", "{folder}/unified.toml")),
    ],
)
def test_one_process_is_enough(start: Start, tmp_path: Path, cores: int, arguments: tuple[str, ...]) -> None:
    (tmp_path / "unified.toml").write_text(UNIFIED)
    with start(cores, *(each.format(folder=tmp_path) for each in arguments)) as server:
        assert children(server) == set()


def test_a_reload_does_not_take_the_number_for_a_change(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text('[registry]\nkind = "store"\ndata = "data"\n')
    with start(2 * CORES_EACH, "--config", str(file)) as server:
        server.signal(signal.SIGHUP)
        server.wait_for("the configuration was reloaded")
        assert "only after a restart" not in server.printed()
        file.write_text(WITH_ANOTHER)
        server.signal(signal.SIGHUP)
        server.wait_for("these settings take effect only after a restart: workers\n")
