"""Compares a server whose backend is a client of another server with that server: `python -m benches.proxy`.

It measures the time that the server adds to a small read, the throughput that is left of a large one, and its memory.
nginx as a reverse proxy, if it is installed, shows the cost of a server that looks at nothing. Rounds alternate.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from benches import hops, nginx
from benches.connection import Connection
from benches.contents import MEDIA_TYPE, REPOSITORY, SMALL_BLOBS, digest_of, manifest, small_blob, tag
from benches.durable import peak_memory
from benches.figures import Figure, machine, save, table
from benches.load import cpu_seconds
from benches.pulls import CLIENTS, p50, pull
from benches.transfers import MIB, Content, delete, post
from tests.serving.site import Site

_RESULTS: Final = Path(__file__).parents[1] / "results"
REQUESTS: Final = 2000
"""Number of small reads in a round, one after another."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.proxy", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each figure (%(default)s)")
    parser.add_argument("--mib", type=int, default=512, help="size of the large blob (%(default)s)")
    parser.add_argument("--folder", type=Path, help="folder on the disk to measure (the system's temporary folder)")
    arguments = parser.parse_args()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for figure in _measure(Path(folder), arguments.rounds, arguments.mib * MIB):
            print(table([figure]).splitlines()[-1], flush=True)
            figures.append(figure)
    print(f"\n{machine()}\n\n{table(figures)}")
    save(figures, _RESULTS / "proxy.json", {name: str(value) for name, value in vars(arguments).items()})
    return 0


def _measure(folder: Path, rounds: int, size: int) -> Iterator[Figure]:
    with ExitStack() as stack:
        upstream, _ = stack.enter_context(hops.serve_upstream(folder / "upstream"))
        sites = {"direct": upstream, "ours": stack.enter_context(hops.serve_client(upstream, folder / "client"))}
        if nginx.is_installed():
            sites["nginx"] = stack.enter_context(nginx.serve_proxy(upstream, folder))
        blobs = [small_blob(number) for number in range(SMALL_BLOBS)]
        manifests = [manifest(number) for number in range(SMALL_BLOBS)]
        _push_small(upstream, blobs, manifests)
        by_tag = [f"/v2/{REPOSITORY}/manifests/{tag(number)}" for number in range(SMALL_BLOBS)]
        by_digest = [f"/v2/{REPOSITORY}/blobs/{digest_of(blob)}" for blob in blobs]
        for name, paths in (("GET manifest by tag", by_tag), ("GET blob of 4 KiB", by_digest)):
            yield from _small(name, sites, paths, rounds)
        yield from _large(sites, size, rounds)


def _small(name: str, sites: Mapping[str, Site], paths: list[str], rounds: int) -> Iterator[Figure]:
    """Return the median time of reads one after another."""
    works = {site: partial(p50, at, paths, REQUESTS) for site, at in sites.items()}
    times = _alternate(works, rounds)
    for site in [site for site in sites if site != "direct"]:
        figure = Figure(f"{name}, p50, {site}", "ms", "direct", more_is_better=False)
        for took, direct in zip(times[site], times["direct"], strict=True):
            figure.add(1e3 * took, 1e3 * direct, adds_ms=1e3 * (took - direct))
        yield figure


def _large(sites: Mapping[str, Site], size: int, rounds: int) -> Iterator[Figure]:
    content = Content(size, 1)
    post(sites["direct"], content)
    path = f"/v2/{REPOSITORY}/blobs/{content.digest}"
    for clients in (1, CLIENTS):
        before = {site: peak_memory(at) for site, at in sites.items()}
        cpu = {site: cpu_seconds(at.pid) for site, at in sites.items()}
        part = Content(size // clients, 2) if clients > 1 else content
        if part is not content:
            post(sites["direct"], part)
            path = f"/v2/{REPOSITORY}/blobs/{part.digest}"
        works = {site: partial(_rate, at, path, clients, size) for site, at in sites.items()}
        rates = _alternate(works, rounds)
        for site in [site for site in sites if site != "direct"]:
            figure = Figure(f"GET blob of {part.size // MIB} MiB, {clients} at once, {site}", "MB/s", "direct", 0.7)
            for rate, direct in zip(rates[site], rates["direct"], strict=True):
                figure.add(rate, direct)
            figure.add_note("cpu_s_per_gb", (cpu_seconds(sites[site].pid) - cpu[site]) / (size * (rounds + 1) / 1e9))
            figure.add_note("peak_mib", peak_memory(sites[site]))
            figure.add_note("peak_rose_mib", peak_memory(sites[site]) - before[site])
            yield figure
    # Push different bytes through the server each time.
    contents = iter([Content(size // 2, 10 + number) for number in range((rounds + 1) * len(sites))])

    def push(at: Site) -> float:
        one = next(contents)
        began = time.perf_counter()
        post(at, one)
        took = time.perf_counter() - began
        delete(sites["direct"], one)
        return one.size / took / 1e6

    rates = _alternate({site: partial(push, at) for site, at in sites.items()}, rounds)
    for site in [site for site in sites if site != "direct"]:
        figure = Figure(f"POST of {size // 2 // MIB} MiB, {site}", "MB/s", "direct")
        for rate, direct in zip(rates[site], rates["direct"], strict=True):
            figure.add(rate, direct)
        yield figure


def _rate(site: Site, path: str, clients: int, size: int) -> float:
    """Return the MB/s that all clients get together."""
    return size / pull(site, [path], clients) / 1e6


def _alternate(works: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return the result of each function in each round. They take turns being first, and a first round warms up."""
    found: dict[str, list[float]] = {name: [] for name in works}
    names = list(works)
    for number in range(-1, rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            figure = works[name]()
            if number >= 0:
                found[name].append(figure)
    return found


def _push_small(site: Site, blobs: list[bytes], manifests: list[bytes]) -> None:
    with Connection(site) as connection:
        for blob in blobs:
            target = f"/v2/{REPOSITORY}/blobs/uploads/?digest={digest_of(blob)}"
            assert connection.request("POST", target, blob).status == 201
        for number, content in enumerate(manifests):
            target = f"/v2/{REPOSITORY}/manifests/{tag(number)}"
            assert connection.request("PUT", target, content, {"content-type": MEDIA_TYPE}).status == 201


if __name__ == "__main__":
    sys.exit(main())
