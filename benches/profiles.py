"""Shows where the processor time of a manifest GET, an upload and a small push goes: `python -m benches.profiles`.

It runs the default store and server under one load at a time. perf samples the parts, and then py-spy samples the
Python functions. It needs perf (Debian: linux-perf; Ubuntu: linux-tools-generic), wrk, and the permission to sample:
root, or `sysctl kernel.perf_event_paranoid=1 kernel.kptr_restrict=0 kernel.yama.ptrace_scope=0`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

from benches import images, perf, py_spy, wrk
from benches.contents import REPOSITORY, TAGS, tag
from benches.durable import prepare, serve_store
from benches.figures import machine
from benches.load import cpu_seconds
from benches.registry import fill
from benches.transfers import MIB, Content, put
from tests.serving.site import Site
from tests.support.server import PROGRAM

ROOT: Final = Path(__file__).parents[1]
UPLOAD_SIZE: Final = 256 * MIB
_FUNCTIONS: Final = 3
"""Number of functions that are named for each part, those with the most time."""
_PYTHON_FUNCTIONS: Final = 12


@dataclass(frozen=True, slots=True)
class Work:
    """A load: its name, the unit of its time, and the function that runs it for some seconds and returns the count."""

    name: str
    unit: str
    microseconds_per_unit: float
    run: Callable[[Site, Path, int], float]


def get_manifests(site: Site, folder: Path, seconds: int) -> float:
    paths = folder / "paths"
    paths.write_text("".join(f"/v2/{REPOSITORY}/manifests/{tag(number)}\n" for number in range(TAGS)))
    return wrk.run(site, paths, {}, seconds).requests


def upload(site: Site, folder: Path, seconds: int) -> float:
    """Upload different blobs of 256 MiB, half a GB for each second asked for. Return the MB."""
    uploads = 2 * seconds
    for _ in range(uploads):
        put(site, Content(UPLOAD_SIZE, next(_SEEDS)))
        # Deleting a blob gives its memory to the next one, as in `store_speed`.
        for path in (folder / "data" / "blobs").glob("*/*"):
            path.unlink()
    return uploads * UPLOAD_SIZE / 1e6


def push_images(site: Site, _: Path, seconds: int) -> float:
    batch = images.make(500 * seconds)
    return images.push(site, batch).images


_SEEDS: Final = count(1)

WORKS: Final = {
    "manifest": Work("GET manifest by tag", "microseconds a request", 1, get_manifests),
    "upload": Work("256 MiB in one PUT", "ms a MB", 1e3, upload),
    "images": Work(f"push small images, {images.CLIENTS} clients", "microseconds an image", 1, push_images),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.profiles", description=__doc__)
    parser.add_argument("--only", choices=WORKS, help="measure only this load")
    parser.add_argument("--seconds", type=int, default=8, help="approximate seconds of each load (%(default)s)")
    parser.add_argument("--folder", type=Path, help="folder on the disk to use (the system's temporary folder)")
    arguments = parser.parse_args()
    for there, name, how in (
        (perf.is_installed(), "perf", "Debian: apt-get install linux-perf; Ubuntu: linux-tools-generic"),
        (wrk.is_installed(), "wrk", "Debian and Ubuntu: apt-get install wrk"),
        (py_spy.is_installed(), "py-spy", "make dev"),
    ):
        if not there:
            parser.error(f"no {name} ({how})")
    library = _build()
    print(machine())
    for key, work in WORKS.items():
        if arguments.only in (None, key):
            with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
                _profile(work, Path(folder), library, arguments.seconds)
    return 0


def parts_table(work: Work, stacks: list[perf.Stack], cpu_seconds_per_unit: float) -> str:
    """Return a Markdown table: each part, its share of the samples, that share of the time, its largest functions."""
    parts = Counter(perf.part(stack) for stack in stacks)
    functions = Counter((perf.part(stack), stack[0].symbol) for stack in stacks)
    time = cpu_seconds_per_unit * 1e6 / work.microseconds_per_unit
    lines = [f"| part | share | {work.unit} | largest functions |", "| --- | --- | --- | --- |"]
    for part, samples in parts.most_common():
        largest = [(symbol, number) for (of, symbol), number in functions.most_common() if of == part]
        named = ", ".join(f"`{symbol}` {number / len(stacks):.1%}" for symbol, number in largest[:_FUNCTIONS])
        share = samples / len(stacks)
        lines.append(f"| {part} | {share:.1%} | {share * time:.3g} | {named} |")
    lines.append(f"| total | {len(stacks):,} samples | {time:.3g} | |")
    return "\n".join(lines)


def functions_table(samples: Counter[str]) -> str:
    """Return a Markdown table of the Python functions with the most time of their own."""
    total = samples.total()
    lines = [f"| function, of {total:,} samples | own time |", "| --- | --- |"]
    lines += [f"| `{name}` | {number / total:.1%} |" for name, number in samples.most_common(_PYTHON_FUNCTIONS)]
    return "\n".join(lines)


def _profile(work: Work, folder: Path, library: Path, seconds: int) -> None:
    if work is WORKS["manifest"]:
        prepare(folder, fill)
    # `env` becomes the server, so that the sampled process is the server.
    program = ("/usr/bin/env", f"PYTHONPATH={_package(folder, library)}", *PROGRAM)
    with serve_store(folder, program=program) as site:
        assert site.pid
        work.run(site, folder, 1)  # warms up
        with perf.sampling(site.pid, folder / "perf.data"):
            before = cpu_seconds(site.pid)
            units = work.run(site, folder, seconds)
            used = cpu_seconds(site.pid) - before
        with py_spy.sampling(site.pid, folder / "py-spy.txt"):
            work.run(site, folder, seconds)
    print(f"\n### {work.name}\n\n{parts_table(work, perf.read(folder / 'perf.data'), used / units)}\n")
    print(functions_table(py_spy.own_time((folder / "py-spy.txt").read_text().splitlines())), flush=True)


def _build() -> Path:
    """Build the compiled module as it is shipped, but with function names. The installed module does not change."""
    command = ["cargo", "build", "--locked", "--quiet", "--profile", "profiling", "--package", "ociserver-py"]
    # As maturin builds it: not linked to the library of one Python.
    environment = {**os.environ, "PYO3_BUILD_EXTENSION_MODULE": "1", "PYO3_PYTHON": sys.executable}
    subprocess.run([shutil.which(command[0]) or command[0], *command[1:]], check=True, cwd=ROOT, env=environment)
    return ROOT / "target" / "profiling" / "lib_core.so"


def _package(folder: Path, library: Path) -> Path:
    """Return a folder for PYTHONPATH that has our package with this library as its compiled module."""
    packages = folder / "packages"
    package = packages / "ociserver"
    package.mkdir(parents=True)
    for path in (ROOT / "python" / "ociserver").iterdir():
        if not path.name.startswith(("_core.", "__pycache__")):
            (package / path.name).symlink_to(path)
    (package / "_core.abi3.so").symlink_to(library)
    return packages


if __name__ == "__main__":
    sys.exit(main())
