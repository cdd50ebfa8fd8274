"""Runs wrk (https://github.com/wg/wrk) over a list of paths."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Final

from benches.load import CONNECTIONS, Load, cpu_seconds
from tests.serving.site import Site

_WRK: Final = shutil.which("wrk")
_SCRIPT: Final = Path(__file__).with_name("requests.lua")


def is_installed() -> bool:
    return _WRK is not None


def run(site: Site, paths: Path, headers: dict[str, str], seconds: int) -> Load:
    """GET the paths of a file in random order, from one thread.

    Raises:
        RuntimeError: an answer was an error, or a connection broke.
    """
    assert _WRK
    options = ["--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds}s"]
    fields = [f"{name}: {value}" for name, value in headers.items()]
    command = [_WRK, *options, "--script", str(_SCRIPT), site.url, "--", str(paths), *fields]
    before = cpu_seconds(site.pid)
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    used = cpu_seconds(site.pid) - before
    result = json.loads(output.partition("RESULT ")[2])
    if result["refused"] or result["broken"] or not result["requests"]:
        raise RuntimeError(f"wrk: {output}")
    return Load(result["requests"], result["seconds"], result["p50_us"], result["p99_us"], used)
