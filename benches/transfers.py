"""Measures large blobs over the memory backend, compared with what granian and SHA-256 allow."""

from __future__ import annotations

import hashlib
import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from benches.baseline import CHUNK
from benches.connection import Connection
from benches.contents import REPOSITORY
from benches.figures import Figure
from benches.in_memory import serve_memory
from benches.load import cpu_seconds
from benches.servers import serve
from ociserver._core import cores_apart
from tests.serving.site import Site

MIB: Final = 1024 * 1024
PATCH_SIZE: Final = 16 * MIB
"""Bytes of each PATCH of an upload in chunks."""

_UPLOADS: Final = f"/v2/{REPOSITORY}/blobs/uploads/"

Work = Callable[[], None]


class Content:
    """A content of any number of MiB, of which one is in memory. Another seed gives other bytes."""

    def __init__(self, size: int, seed: int = 0) -> None:
        self.size = size
        self.piece = random.Random(seed).randbytes(MIB)
        self.digest = self.hash()

    @property
    def pieces(self) -> Iterator[bytes]:
        return itertools.repeat(self.piece, self.size // MIB)

    def hash(self) -> str:
        """Compute the digest in one thread, in pieces of the size that our handler hashes."""
        hasher = hashlib.sha256()
        half = memoryview(self.piece)[: MIB // 2]
        other = memoryview(self.piece)[MIB // 2 :]
        for _ in range(self.size // MIB):
            hasher.update(half)
            hasher.update(other)
        return f"sha256:{hasher.hexdigest()}"


def measure(rounds: int, size: int, only: str = "") -> Iterator[Figure]:
    """Measure uploads of `size` bytes, and downloads of a quarter of that."""
    with (
        serve_memory() as registry,
        serve("benches.baseline:drop") as dropping,
        serve("benches.baseline:chunks") as chunks,
    ):
        if only in "PUT PATCH":
            yield from _uploads(registry, dropping, Content(size), rounds)
        if only in "GET blob":
            yield _download(registry, chunks, Content(size // 4), rounds)


def _uploads(registry: Site, dropping: Site, content: Content, rounds: int) -> Iterator[Figure]:
    works: dict[str, tuple[Site | None, Work]] = {
        "PUT": (registry, lambda: put(registry, content)),
        "PATCH": (registry, lambda: patches(registry, content)),
        "drop": (dropping, lambda: drop(dropping, content)),
        "SHA-256": (None, lambda: check(content)),
    }
    after = {"PUT": lambda: delete(registry, content), "PATCH": lambda: delete(registry, content)}
    rates, cpu, _ = alternate(works, after, content.size, rounds)
    mib = content.size // MIB
    for name, what in (("PUT", f"PUT of {mib} MiB"), ("PATCH", f"PATCH of {PATCH_SIZE // MIB} MiB, {mib} MiB in all")):
        for base, base_name in (("drop", "receive and drop"), ("SHA-256", "SHA-256, one core")):
            figure = Figure(what, "MB/s", base_name)
            for index in range(rounds):
                figure.add(
                    rates[name][index], rates[base][index], cpu_ms=cpu[name][index], base_cpu_ms=cpu[base][index]
                )
            yield figure


def _download(registry: Site, chunks: Site, content: Content, rounds: int) -> Figure:
    put(registry, content)
    works: dict[str, tuple[Site | None, Work]] = {
        "GET": (registry, lambda: get(registry, f"/v2/{REPOSITORY}/blobs/{content.digest}", content)),
        "chunks": (chunks, lambda: get(chunks, f"/{content.size}", content)),
    }
    rates, cpu, _ = alternate(works, {}, content.size, rounds)
    base_name = f"constant chunks of {len(CHUNK) // 1024} KiB"
    figure = Figure(f"GET blob of {content.size // MIB} MiB", "MB/s", base_name)
    for index in range(rounds):
        figure.add(
            rates["GET"][index], rates["chunks"][index], cpu_ms=cpu["GET"][index], base_cpu_ms=cpu["chunks"][index]
        )
    return figure


def alternate(
    works: dict[str, tuple[Site | None, Work]], after: dict[str, Work], size: int, rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]], list[float]]:
    """Return the MB/s, and the milliseconds of processor time of the server, of each work in each round.

    The last value is the longest time in nanoseconds that a word took from one core to the other in each round, 0 if
    unknown. It slows all work that needs two cores.
    """
    rates: dict[str, list[float]] = {name: [] for name in works}
    cpu: dict[str, list[float]] = {name: [] for name in works}
    apart: list[float] = []
    names: Sequence[str] = list(works)
    for index in range(-1, rounds):
        first = index % len(names)
        between = [cores_apart()]
        for name in [*names[first:], *names[:first]]:
            site, work = works[name]
            before, began = cpu_seconds(site.pid) if site else 0, time.perf_counter()
            work()
            took, used = time.perf_counter() - began, (cpu_seconds(site.pid) if site else 0) - before
            if index >= 0:  # the first one warms up
                rates[name].append(size / took / 1e6)
                cpu[name].append(used * 1e3)
            if name in after:
                after[name]()
            between.append(cores_apart())
        if index >= 0:
            apart.append(max((time for time in between if time is not None), default=0))
    return rates, cpu, apart


def put(site: Site, content: Content) -> None:
    with Connection(site) as connection:
        location = connection.request("POST", _UPLOADS).header("location")
        _send(connection, "PUT", f"{location}?digest={content.digest}", content.pieces, content.size, 201)


def post(site: Site, content: Content) -> None:
    with Connection(site) as connection:
        _send(connection, "POST", f"{_UPLOADS}?digest={content.digest}", content.pieces, content.size, 201)


def patches(site: Site, content: Content, patch_size: int = PATCH_SIZE) -> None:
    with Connection(site) as connection:
        location = connection.request("POST", _UPLOADS).header("location")
        pieces = content.pieces
        for start in range(0, content.size, patch_size):
            stop = min(start + patch_size, content.size)
            part = itertools.islice(pieces, (stop - start) // MIB)
            _send(connection, "PATCH", location, part, stop - start, 202, {"content-range": f"{start}-{stop - 1}"})
        _send(connection, "PUT", f"{location}?digest={content.digest}", (), 0, 201)


def drop(site: Site, content: Content) -> None:
    with Connection(site) as connection:
        _send(connection, "PUT", "/", content.pieces, content.size, 201)


def _send(
    connection: Connection,
    method: str,
    target: str,
    pieces: Iterable[bytes],
    size: int,
    status: int,
    headers: dict[str, str] | None = None,
) -> None:
    connection.send_head(method, target, size, headers)
    connection.send_pieces(pieces)
    answer = connection.answer(method)
    assert answer.status == status, answer


def check(content: Content) -> None:
    assert content.hash() == content.digest


def delete(site: Site, content: Content) -> None:
    with Connection(site) as connection:
        answer = connection.request("DELETE", f"/v2/{REPOSITORY}/blobs/{content.digest}")
        assert answer.status == 202, answer


def get(site: Site, target: str, content: Content) -> None:
    with Connection(site) as connection:
        connection.send_head("GET", target, 0)
        answer = connection.answer("GET", keep=False)
        assert (answer.status, answer.header("content-length")) == (200, str(content.size)), answer
