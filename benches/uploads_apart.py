"""Compares uploads to this checkout with uploads to another one: `python -m benches.uploads_apart FOLDER`.

FOLDER is the `python` folder of the other checkout, with its compiled `_core`. Both serve at the same time, and take
the same work in alternating order. A ratio above 1 speaks for this checkout.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

from benches.connection import Connection
from benches.contents import digest_of
from benches.durable import serve_store
from benches.figures import Figure, machine, save, table
from benches.transfers import MIB, Content, patches
from ociserver.bench.server_cpu import server_cpu_seconds
from tests.serving.site import Site
from tests.support.threads import together

_RESULTS: Final = Path(__file__).parents[1] / "results"
SIZE: Final = 96 * MIB
"""Bytes of an upload in chunks: a multiple of each size of a chunk."""
CHUNKS: Final = (MIB, 16 * MIB)
CLIENTS: Final = 8
SMALL: Final = 4096
"""Bytes of a small blob."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.uploads_apart", description=__doc__)
    parser.add_argument("other", type=Path, help="the `python` folder of the other checkout")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of each figure (%(default)s)")
    parser.add_argument("--blobs", type=int, default=1500, help="small blobs in a round (%(default)s)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of workers (%(default)s)")
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 4], help="uploads at a time (%(default)s)")
    arguments = parser.parse_args()
    figures: list[Figure] = []
    for workers in arguments.workers:
        for figure in _measure(arguments, workers):
            print(table([figure]).splitlines()[-1], flush=True)
            figures.append(figure)
    print(f"\n{machine()}\n\n{table(figures)}")
    settings = {name: str(value) for name, value in vars(arguments).items()}
    save(figures, _RESULTS / "uploads_apart.json", settings)
    return 0


def _measure(arguments: argparse.Namespace, workers: int) -> Iterator[Figure]:
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2)]
        programs = _program(Path(__file__).parents[1] / "python"), _program(arguments.other.absolute())
        sites = [
            stack.enter_context(serve_store(folder, f"--workers={workers}", program=program))
            for folder, program in zip(folders, programs, strict=True)
        ]
        seeds = count(1)
        for clients in arguments.clients:
            for chunk in CHUNKS:
                name = f"{clients} x {SIZE // MIB} MiB in chunks of {chunk // MIB} MiB, {workers} workers"
                figure = Figure(name, "MB/s", "other")
                for turn in range(-1, arguments.rounds):
                    contents = [Content(SIZE, next(seeds)) for _ in range(clients)]
                    _round(figure, sites, turn, clients * SIZE / 1e6, partial(_push_chunks, contents, chunk))
                    # As of a registry at work, whose system has used all of its memory before.
                    for path in (path for folder in folders for path in (folder / "data" / "blobs").glob("*/*")):
                        path.unlink()
                yield figure
        figure = Figure(f"small blobs, POST and PUT, {workers} workers", "blobs/s", "other")
        for turn in range(-1, arguments.rounds):
            blobs = [os.urandom(SMALL) for _ in range(arguments.blobs)]
            _round(figure, sites, turn, len(blobs), partial(_push_small, blobs))
        yield figure


def _round(figure: Figure, sites: Sequence[Site], turn: int, amount: float, work: partial[None]) -> None:
    rates, cpu = [0.0, 0.0], [0.0, 0.0]
    for which in (0, 1) if turn % 2 else (1, 0):
        before, began = _cpu(sites[which]), time.perf_counter()
        work(sites[which])
        rates[which] = amount / (time.perf_counter() - began)
        cpu[which] = _cpu(sites[which]) - before
    if turn >= 0:  # the first one warms up
        figure.add(*rates, cpu_ratio=cpu[1] / cpu[0])


def _push_chunks(contents: Sequence[Content], chunk: int, site: Site) -> None:
    together([partial(patches, site, content, chunk) for content in contents])


def _push_small(blobs: Sequence[bytes], site: Site) -> None:
    def push(some: Sequence[bytes]) -> None:
        with Connection(site) as connection:
            for blob in some:
                location = connection.request("POST", "/v2/small/blobs/uploads/").header("location")
                answer = connection.request("PUT", f"{location}?digest={digest_of(blob)}", blob)
                assert answer.status == 201, answer

    together([partial(push, blobs[number::CLIENTS]) for number in range(CLIENTS)])


def _program(folder: Path) -> Sequence[str]:
    return "env", f"PYTHONPATH={folder}", sys.executable, "-m", "ociserver"


def _cpu(site: Site) -> float:
    """Of the server and its workers, in seconds."""
    return server_cpu_seconds((site.pid,) if site.pid else ()) or 0.0


if __name__ == "__main__":
    sys.exit(main())
