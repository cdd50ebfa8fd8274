"""Measures that a page costs the same for any length of its list, and the start with a million blobs.

`python -m benches.store_lists` reads pages of tags, of the catalog and of referrers, and deletes manifests by digest,
at three sizes each. The ratio is the median time of the smallest list to that of the other.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from statistics import quantiles
from typing import Final

from benches.connection import Connection
from benches.contents import MEDIA_TYPE, digest_of
from benches.durable import prepare, serve_store
from benches.figures import Figure, machine, save, table
from ociserver import Store
from tests.serving.site import Site

_RESULTS: Final = Path(__file__).parents[1] / "results"
SIZES: Final = (100, 10_000, 100_000)
PAGE: Final = 50
BLOBS: Final = 1_000_000
_AT_ONCE: Final = 250
_SUBJECT: Final = digest_of(b"subject")
_OCTETS: Final = "application/octet-stream"

Targets = Sequence[tuple[str, str, int]]
"""Method, path and expected status."""

Fill = Callable[[Store, int], Awaitable[None]]
Choose = Callable[[int, random.Random, int], Targets]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.store_lists", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each figure (%(default)s)")
    parser.add_argument("--requests", type=int, default=400, help="requests in a round (%(default)s)")
    parser.add_argument("--sizes", type=int, nargs=3, default=SIZES, help="sizes of the lists (%(default)s)")
    parser.add_argument("--only", choices=_LISTS, help="measure only this list, and no start")
    arguments = parser.parse_args()
    figures: list[Figure] = []
    for name, (fill, targets) in _LISTS.items():
        if arguments.only not in (None, name):
            continue
        for figure in _measure(name, fill, targets, arguments.sizes, arguments.rounds, arguments.requests):
            print(table([figure]).splitlines()[-1], flush=True)
            figures.append(figure)
    print(f"\n{machine()}\n\n{table(figures)}")
    if arguments.only is None:
        print(f"\nstart with {BLOBS} blobs linked: {', '.join(f'{took:.2f}' for took in _starts())} s")
    save(figures, _RESULTS / "store_lists.json", vars(arguments))
    return 0


def _measure(
    name: str,
    fill: Fill,
    targets: Choose,
    sizes: Sequence[int],
    rounds: int,
    requests: int,
) -> Iterator[Figure]:
    with ExitStack() as stack:
        sites: list[Site] = []
        for size in sizes:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            prepare(folder, lambda store, size=size: fill(store, size))  # type: ignore[misc]
            sites.append(stack.enter_context(serve_store(folder)))
        figures = [Figure(f"{name}, {size:,}", "us", f"{sizes[0]}", 1 / 1.5, more_is_better=False) for size in sizes]
        dice = random.Random(1)
        for turn in range(-1, rounds):
            times = []
            for site, size in zip(sites, sizes, strict=True):
                # A deletion consumes its entry, so that a short list allows fewer requests.
                times.append(_times(site, targets(size, dice, requests)))
            if turn < 0:
                continue
            for figure, taken in zip(figures, times, strict=True):
                p50, p99 = _percentiles(taken)
                base50, base99 = _percentiles(times[0])
                figure.add(p50, base50, p99_us=p99, base_p99_us=base99)
    yield from figures[1:]


def _times(site: Site, targets: Targets) -> list[float]:
    times = []
    with Connection(site) as connection:
        for method, target, status in targets:
            began = time.perf_counter()
            answer = connection.request(method, target)
            times.append(time.perf_counter() - began)
            assert answer.status == status, f"{method} {target}: {answer.status}"
    return times


def _percentiles(times: Sequence[float]) -> tuple[float, float]:
    parts = quantiles(times, n=100)
    return parts[49] * 1e6, parts[98] * 1e6


async def _tags(store: Store, size: int) -> None:
    content = b'{"schemaVersion":2}'
    for first in range(0, size, 1000):
        tags = [f"t{number:06}" for number in range(first, min(first + 1000, size))]
        await store.push_manifest("list", content, _OCTETS, tags=tags)


def _tag_pages(size: int, dice: random.Random, requests: int) -> Targets:
    # Full pages at any place of the list.
    return [
        ("GET", f"/v2/list/tags/list?n={PAGE}&last=t{dice.randrange(size - PAGE):06}", 200) for _ in range(requests)
    ]


async def _repositories(store: Store, size: int) -> None:
    await _all(store.push_manifest(f"r{number:06}", b"{}", _OCTETS) for number in range(size))


def _catalog_pages(size: int, dice: random.Random, requests: int) -> Targets:
    return [("GET", f"/v2/_catalog?n={PAGE}&last=r{dice.randrange(size - PAGE):06}", 200) for _ in range(requests)]


async def _referrers(store: Store, size: int) -> None:
    await _all(store.push_manifest("list", _referrer(number), MEDIA_TYPE) for number in range(size))


def _referrer_pages(size: int, _: random.Random, requests: int) -> Targets:
    # The last page, which is as short as the others, because referrers have no `n`.
    last = sorted(digest_of(_referrer(number)) for number in range(size))[-PAGE - 1]
    return [("GET", f"/v2/list/referrers/{_SUBJECT}?last={last}", 200)] * requests


def _referrer(number: int) -> bytes:
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2}
    content = {
        "schemaVersion": 2,
        "mediaType": MEDIA_TYPE,
        "artifactType": "application/x.bench",
        "subject": {"mediaType": MEDIA_TYPE, "digest": _SUBJECT, "size": 7},
        "config": empty,
        "layers": [],
        "annotations": {"number": str(number)},
    }
    return json.dumps(content).encode()


async def _manifests(store: Store, size: int) -> None:
    async def push(number: int) -> None:
        await store.push_manifest("list", _manifest(number), _OCTETS, tags=[f"t{number}"])

    await _all(push(number) for number in range(size))


class _Deletions:
    """Returns requests to delete manifests that still exist, separate ones for each size."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}

    def __call__(self, size: int, _: random.Random, requests: int) -> Targets:
        first = self._next.get(size, 0)
        # A tenth of the smallest list in each round.
        self._next[size] = last = first + min(requests, SIZES[0] // 10)
        paths = (f"/v2/list/manifests/{digest_of(_manifest(number))}" for number in range(first, last))
        return [("DELETE", path, 202) for path in paths]


def _manifest(number: int) -> bytes:
    return b'{"schemaVersion":2,"number":%d}' % number


async def _all(works: Iterator[Awaitable[object]]) -> None:
    """Await them, some hundred at once, because a store commits them together."""
    while batch := list(islice(works, _AT_ONCE)):
        await asyncio.gather(*batch)


def _starts() -> Iterator[float]:
    """Return the seconds from the start of a server to its first answer, with a million blobs in one repository."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        async def nothing(_: Store) -> None: ...

        prepare(folder, nothing)
        with closing(sqlite3.connect(folder / "data" / "registry.db")) as database:
            database.execute("INSERT INTO repositories (id, name) VALUES (1, 'list')")
            copies = ((n, digest_of(b"%d" % n), len(b"%d" % n), b"%d" % n) for n in range(BLOBS))
            database.executemany("INSERT INTO copies (id, digest, size, content) VALUES (?, ?, ?, ?)", copies)
            database.execute("INSERT INTO links (repository_id, copy_id, renewed) SELECT 1, id, 0 FROM copies")
            database.commit()
        for _ in range(3):
            began = time.perf_counter()
            with serve_store(folder) as site, Connection(site) as connection:
                last = b"%d" % (BLOBS - 1)
                assert connection.request("GET", f"/v2/list/blobs/{digest_of(last)}").body == last
                took = time.perf_counter() - began
            yield took


_LISTS: Final[dict[str, tuple[Fill, Choose]]] = {
    f"page of {PAGE} tags": (_tags, _tag_pages),
    f"page of {PAGE} repositories": (_repositories, _catalog_pages),
    f"page of {PAGE} referrers": (_referrers, _referrer_pages),
    "DELETE manifest by digest": (_manifests, _Deletions()),
}

if __name__ == "__main__":
    sys.exit(main())
