"""Compares the load of `ociserver bench` with wrk's, against nginx with a file: `python -m benches.load_generator`.

A load generator must not be the bottleneck: ours should be as fast as wrk, and take no more processor time.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benches.nginx import serve_files
from ociserver._core import LoadOrigin, LoadStep, run_load
from tests.serving.site import Site

ROUNDS: Final = 3
SECONDS: Final = 3
CASES: Final = ((4096, 8), (4096, 64), (64 << 20, 1), (64 << 20, 8))
"""Bytes of the file, and number of connections. Each load comes from one thread."""

Figures = tuple[float, float]
"""Requests per second, and the share of a core that the client used."""


def ours(site: Site, clients: int) -> Figures:
    origin = LoadOrigin(site.host, site.port, f"{site.host}:{site.port}", https=False)
    before = time.process_time()
    report = run_load(
        origin,
        [[LoadStep("GET", "/file")]],
        clients=clients,
        threads=1,
        seconds=SECONDS,
        repeat=True,
        hash=False,
        headers=[],
        progress=lambda begun, finished: None,
    )
    if report.errors:
        raise RuntimeError(f"{report.first_error}")
    return report.count / report.seconds, (time.process_time() - before) / report.seconds


def wrk(site: Site, clients: int) -> Figures:
    command = ["wrk", "-t", "1", "-c", str(clients), "-d", f"{SECONDS}s", f"{site.url}/file"]
    before = os.times()
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    after = os.times()
    found = re.search(r"(\d+) requests in ([\d.]+)s", output)
    if found is None:
        raise RuntimeError(output)
    seconds = float(found[2])
    used = after.children_user - before.children_user + after.children_system - before.children_system
    return int(found[1]) / seconds, used / seconds


def main() -> None:
    programs: dict[str, Callable[[Site, int], Figures]] = {"wrk": wrk, "bench": ours}
    with tempfile.TemporaryDirectory() as name:
        folder, root = Path(name), Path(name) / "root"
        folder.chmod(0o755)
        root.mkdir()
        for size, clients in CASES:
            (root / "file").write_bytes(os.urandom(size))
            with serve_files(root, folder) as site:
                for program in list(programs) * ROUNDS:
                    rate, used = programs[program](site, clients)
                    print(
                        f"{size:9} bytes, {clients:2} connections, {program:5}: {rate:8.0f} requests/s, "
                        f"{rate * size / 1e9:5.2f} GB/s, {used:4.0%} of a core"
                    )


if __name__ == "__main__":
    main()
