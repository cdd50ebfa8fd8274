"""Compares the pull-through cache with distribution's proxy mode, with one upstream: `python -m benches.cache`.

32 clients pull an image of 1 GiB at once: from upstream, which is the plain store, from each empty cache, and from each
filled cache. First bytes are those of blobs that no cache has. A server over a client, and nginx as a reverse proxy if
it is installed, show the cost of a hop that keeps nothing. Rounds alternate.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Final

from benches import hops, nginx
from benches.connection import Connection
from benches.contents import MEDIA_TYPE, REPOSITORY
from benches.figures import Figure, machine, save, table
from benches.pulls import CLIENTS, first_bytes, middle_and_last, pull
from benches.transfers import MIB, Content, post
from tests.serving.site import Site

_RESULTS: Final = Path(__file__).parents[1] / "results"
LAYERS: Final = 4
TAG: Final = "latest"
FIRST_BYTE_SIZE: Final = 4 * MIB
FIRST_BYTE_BLOBS: Final = 10
"""Number of blobs in each round whose first bytes are timed."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.cache", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each figure (%(default)s)")
    parser.add_argument("--mib", type=int, default=1024, help="size of the image (%(default)s)")
    parser.add_argument(
        "--workers", type=int, default=1, help="worker processes of upstream and of our cache (%(default)s)"
    )
    parser.add_argument("--only", choices=("image", "first-byte"), help="measure only this part")
    parser.add_argument("--folder", type=Path, help="folder on the disk to measure (the system's temporary folder)")
    arguments = parser.parse_args()
    if not hops.DISTRIBUTION.exists():
        print("no distribution: run tests/tools/peers/build distribution3", file=sys.stderr)
        return 1
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for figure in _measure(Path(folder), arguments):
            print(table([figure]).splitlines()[-1], flush=True)
            figures.append(figure)
    print(f"\n{machine()}\n\n{table(figures)}")
    settings = {name: str(value) for name, value in vars(arguments).items()}
    save(figures, _RESULTS / f"cache-{arguments.workers}.json", settings)
    return 0


def _measure(folder: Path, arguments: argparse.Namespace) -> Iterator[Figure]:
    workers = ("--workers", str(arguments.workers))
    with hops.serve_upstream(folder / "upstream", *workers) as (upstream, log):
        if arguments.only in (None, "first-byte"):
            yield from _first_bytes(upstream, folder, arguments.rounds, workers)
        if arguments.only in (None, "image"):
            yield from Image(upstream, log, folder, arguments.mib * MIB, workers).measure(arguments.rounds)


class Image:
    """Pulls of an image through both caches.

    Args:
        upstream: the server that gets the image.
        log: the access log of upstream.
        folder: the folder for the caches.
        size: total bytes of the layers.
        workers: command line arguments of our cache.
    """

    def __init__(self, upstream: Site, log: Path, folder: Path, size: int, workers: tuple[str, ...]) -> None:
        self._upstream = upstream
        self._log = log
        self._folder = folder
        self._size = size
        self._workers = workers
        layers = [Content(size // LAYERS, seed) for seed in range(LAYERS)]
        for layer in layers:
            post(upstream, layer)
        self._digests = [layer.digest for layer in layers]
        _push_manifest(upstream, layers)
        self._paths = [f"/v2/{REPOSITORY}/manifests/{TAG}", *(_blob(digest) for digest in self._digests)]

    def measure(self, rounds: int) -> Iterator[Figure]:
        mib = self._size // MIB
        cold = Figure(f"cold, {CLIENTS} clients, {mib} MiB", "MB/s", "the same, warm", 0.8)
        warm = Figure("warm", "MB/s", "the plain store", 0.9)
        cold_beside = Figure("cold", "MB/s", "distribution, cold")
        warm_beside = Figure("warm", "MB/s", "distribution, warm")
        for number in range(rounds):
            rates: dict[str, float] = {}
            parts = [self._plain, self._ours, self._distribution]
            for part in parts[number % 3 :] + parts[: number % 3]:
                rates.update(part())
            cold.add(rates["ours cold"], rates["ours warm"], upstream_asked=rates["ours asked"])
            warm.add(rates["ours warm"], rates["plain"])
            cold_beside.add(
                rates["ours cold"], rates["distribution cold"], distribution_asked=rates["distribution asked"]
            )
            warm_beside.add(rates["ours warm"], rates["distribution warm"])
        yield from (cold, warm, cold_beside, warm_beside)

    def _plain(self) -> dict[str, float]:
        return {"plain": self._rate(self._upstream)}

    def _ours(self) -> dict[str, float]:
        folder = self._folder / "ours"
        with hops.serve_cache(self._upstream, folder, *self._workers) as cache:
            rates = self._cold_and_warm("ours", cache)
        hops.remove(folder)
        return rates

    def _distribution(self) -> dict[str, float]:
        folder = self._folder / "distribution"
        with hops.serve_distribution_proxy(self._upstream, folder) as cache:
            rates = self._cold_and_warm("distribution", cache)
        hops.remove(folder)
        return rates

    def _cold_and_warm(self, name: str, cache: Site) -> dict[str, float]:
        before = self._asked()
        cold = self._rate(cache)
        asked = self._asked() - before
        warm = self._rate(cache)
        # The caches kept what was asked for.
        pull(cache, self._paths[1:], 1, self._digests)
        return {f"{name} cold": cold, f"{name} warm": warm, f"{name} asked": asked / LAYERS}

    def _rate(self, site: Site) -> float:
        return self._size * CLIENTS / pull(site, self._paths) / 1e6

    def _asked(self) -> int:
        """Return how often upstream was asked for a layer so far."""
        return len(re.findall(f'"GET /v2/{REPOSITORY}/blobs/', self._log.read_text()))


def _first_bytes(upstream: Site, folder: Path, rounds: int, workers: tuple[str, ...]) -> Iterator[Figure]:
    """Time the first byte of blobs that no cache has, for one client and for all at once, at each server."""
    seeds = count(1000)
    with ExitStack() as stack:
        ours = stack.enter_context(hops.serve_cache(upstream, folder / "ours-first", *workers))
        other = stack.enter_context(hops.serve_distribution_proxy(upstream, folder / "distribution-first"))
        client = stack.enter_context(hops.serve_client(upstream, folder / "client-first"))
        sites = {"upstream": upstream, "ours": ours, "distribution": other, "a server over a client": client}
        if nginx.is_installed():
            sites["nginx"] = stack.enter_context(nginx.serve_proxy(upstream, folder))
        for clients in (1, CLIENTS):
            beside = {
                name: Figure(
                    f"first byte, {clients} at once",
                    "ms",
                    "upstream's own" if name == "upstream" else name,
                    0.5 if name == "upstream" else None,
                    more_is_better=False,
                )
                for name in sites
                if name != "ours"
            }
            for number in range(rounds * FIRST_BYTE_BLOBS):
                content = Content(FIRST_BYTE_SIZE, next(seeds))
                post(upstream, content)
                names = list(sites)
                first = number % len(names)
                times = {}
                for name in names[first:] + names[:first]:
                    times[name] = middle_and_last(first_bytes(sites[name], _blob(content.digest), clients))
                    # Let work that continues after the clients have left end before the next server is asked.
                    pull(sites[name], [_blob(content.digest)], 1)
                middle, last = times["ours"]
                for name, figure in beside.items():
                    figure.add(middle, times[name][0], last_client=last, other_last_client=times[name][1])
            yield from beside.values()


def _push_manifest(upstream: Site, layers: list[Content]) -> None:
    kind = "application/vnd.oci.image.layer.v1.tar"
    entries = [{"mediaType": kind, "digest": layer.digest, "size": layer.size} for layer in layers]
    manifest = {"schemaVersion": 2, "mediaType": MEDIA_TYPE, "config": entries[0], "layers": entries}
    with Connection(upstream) as connection:
        target = f"/v2/{REPOSITORY}/manifests/{TAG}"
        answer = connection.request("PUT", target, json.dumps(manifest).encode(), {"content-type": MEDIA_TYPE})
        assert answer.status == 201, answer


def _blob(digest: str) -> str:
    return f"/v2/{REPOSITORY}/blobs/{digest}"


if __name__ == "__main__":
    sys.exit(main())
