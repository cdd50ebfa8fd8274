"""Starts the server that is attacked, attacks it, and looks at its memory."""

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
"""How much memory may grow from one round of all attempts to the next: what the uploads that they leave behind
keep (some 60 KiB), and the unsteadiness of an allocator. A leak of one large body a round would exceed it."""

PEAK_MIB: Final = 64
"""How far it may ever rise above where it began. Many of the bodies are of megabytes, and one says 8 EiB."""

HEADER_TIMEOUT_MS: Final = 1500


@contextmanager
def hostile_site(log: Path, target: str = "tests.hostile.application:application", *more: str) -> Iterator[Site]:
    """A server with one blob in one repository."""
    # As `ociserver serve` does: while granian guesses the version, it waits for the first byte without end.
    options = ("--http", "1", "--http1-header-read-timeout", str(HEADER_TIMEOUT_MS))
    with serve_with_granian(target, log, *options, *more) as site:
        push = raw("POST", below(f"blobs/uploads/?digest={BLOB_DIGEST}"), body=BLOB)
        assert exchange(site, [push]).status == 201
        yield site


def attack(site: Site) -> dict[str, Outcome]:
    """Try everything once."""
    return {attempt.name: send(site, attempt) for attempt in ATTEMPTS}


def memory_mib(site: Site, field: str = "VmRSS") -> float:
    """Resident memory of the process that serves; `VmHWM` for the most that it ever had."""
    for line in Path(f"/proc/{site.pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) / 1024
    raise LookupError(field)
