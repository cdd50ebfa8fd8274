"""Starts the server, attacks it, and measures its memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.hostile.application import BLOB, BLOB_DIGEST
from tests.hostile.attempt import below, raw
from tests.hostile.client import Outcome, exchange, send
from tests.hostile.every import ATTEMPTS
from tests.serving.granian_process import serve_with_granian
from tests.serving.site import Site

GROWTH_MIB: Final = 8
"""Maximum growth of memory from one round of all attempts to the next. Unfinished uploads keep some 60 KiB, and the
allocator varies. A leak of one large body in each round would exceed this."""

PEAK_MIB: Final = 64
"""Maximum peak of memory above its start. Many bodies have megabytes, and one announces 8 EiB."""

HEADER_TIMEOUT_MS: Final = 1500


@contextmanager
def hostile_site(log: Path, target: str = "tests.hostile.application:application", *more: str) -> Iterator[Site]:
    """A server with one blob in one repository."""
    # As in `ociserver serve`. If granian had to guess the HTTP version, it would wait forever for the first byte.
    options = ("--http", "1", "--http1-header-read-timeout", str(HEADER_TIMEOUT_MS))
    with serve_with_granian(target, log, *options, *more) as site:
        push = raw("POST", below(f"blobs/uploads/?digest={BLOB_DIGEST}"), body=BLOB)
        assert exchange(site, [push]).status == 201
        yield site


def attack(site: Site) -> dict[str, Outcome]:
    """Send every attempt once."""
    return {attempt.name: send(site, attempt) for attempt in ATTEMPTS}


def memory_mib(site: Site, field: str = "VmRSS") -> float:
    """Resident memory of the serving process in MiB; with `VmHWM`, its peak."""
    for line in Path(f"/proc/{site.pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) / 1024
    raise LookupError(field)
