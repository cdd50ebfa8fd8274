"""Measures up to which size the database is better for a blob than a file: `python -m benches.small_contents`.

It pushes the same blobs to two servers, one with all of them in the database and one with none, and pulls them from
each. Above a ratio of 1 the database is faster.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from benches import small_contents_server
from benches.connection import Connection
from benches.contents import digest_of
from benches.figures import Figure, machine, save, table
from tests.serving.site import Site
from tests.support.server import serve
from tests.support.threads import together

_RESULTS: Final = Path(__file__).parents[1] / "results"
SIZES: Final = tuple(kib * 1024 for kib in (1, 4, 16, 64, 256))
CLIENTS: Final = 8
_EVERYTHING: Final = 1 << 30


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.small_contents", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each size (%(default)s)")
    parser.add_argument("--blobs", type=int, default=400, help="blobs in a round (%(default)s)")
    arguments = parser.parse_args()
    figures: list[Figure] = []
    with ExitStack() as stack:
        inline, in_files = (stack.enter_context(_serve(bound)) for bound in (_EVERYTHING, 0))
        for size in SIZES:
            pushes = Figure(f"push a blob of {size // 1024} KiB", "blobs/s", "in files")
            pulls = Figure(f"pull a blob of {size // 1024} KiB", "blobs/s", "in files")
            for turn in range(-1, arguments.rounds):
                dice = random.Random(size * 1000 + turn)
                blobs = [dice.randbytes(size) for _ in range(arguments.blobs)]
                order = (inline, in_files) if turn % 2 else (in_files, inline)
                pushed = {site.port: _rate(site, blobs, _push) for site in order}
                pulled = {site.port: _rate(site, blobs, _pull) for site in order}
                if turn >= 0:  # the first one warms up
                    pushes.add(pushed[inline.port], pushed[in_files.port])
                    pulls.add(pulled[inline.port], pulled[in_files.port])
            for figure in (pushes, pulls):
                print(table([figure]).splitlines()[-1], flush=True)
                figures.append(figure)
    print(f"\n{machine()}\n\n{table(figures)}")
    save(figures, _RESULTS / "small_contents.json", vars(arguments))
    return 0


@contextmanager
def _serve(bound: int) -> Iterator[Site]:
    program = (sys.executable, "-m", small_contents_server.__name__)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flags = ["--data", str(folder / "data"), "--no-access-log", "--collect-every", "0"]
        os.environ["BENCH_INLINE_SIZE"] = str(bound)
        with serve(flags, folder, program=program) as server:
            yield Site(server.host, server.port, server.pid)


def _rate(site: Site, blobs: Sequence[bytes], work: Callable[[Connection, bytes], None]) -> float:
    """Return the blobs per second, with each client on its own connection. The first error of a client is raised."""

    def run(number: int) -> None:
        with Connection(site) as connection:
            for blob in blobs[number::CLIENTS]:
                work(connection, blob)

    began = time.perf_counter()
    together(partial(run, number) for number in range(CLIENTS))
    return len(blobs) / (time.perf_counter() - began)


def _push(connection: Connection, blob: bytes) -> None:
    answer = connection.request("POST", f"/v2/small/blobs/uploads/?digest={digest_of(blob)}", blob)
    assert answer.status == 201, answer


def _pull(connection: Connection, blob: bytes) -> None:
    answer = connection.request("GET", f"/v2/small/blobs/{digest_of(blob)}")
    assert answer.body == blob, answer.status


if __name__ == "__main__":
    sys.exit(main())
