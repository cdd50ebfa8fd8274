"""A client that overwrites tags while they are read, and a client that looks for stale answers."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from benches.connection import Connection
from benches.contents import MEDIA_TYPE, REPOSITORY, TAGS, digest_of, manifest, tag
from tests.serving.site import Site

RATE: Final = 100
"""Overwrites per second, and reads that check them: some 1 % of the load."""


class Overwriter:
    """Overwrites tags and checks them, each on its own connection, until the block ends. It can be entered again.

    A read may answer with the last manifest that was acknowledged before the read began, or with one whose push began
    before the read ended. The end of the block raises the first error.
    """

    def __init__(self, site: Site, *, check: bool) -> None:
        self._site = site
        self._check = check
        self._stop = threading.Event()
        self._errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        # The digests of a tag in the order in which their pushes began, and how many of them were acknowledged.
        self._digests = [[digest_of(manifest(number))] for number in range(TAGS)]
        self._acknowledged = [1] * TAGS
        self._recent = 0
        self.writes = 0
        self.reads = 0

    def __enter__(self) -> Self:
        self._stop.clear()
        self._threads = [threading.Thread(target=self._guard, args=(work,)) for work in (self._write, self._read)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._errors and error is None:
            raise self._errors[0]

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._errors.append(error)

    def _write(self) -> None:
        dice = random.Random(1)
        with Connection(self._site) as connection:
            while not self._stop.wait(1 / RATE):
                number = dice.randrange(TAGS)
                content = manifest(number, len(self._digests[number]))
                self._digests[number].append(digest_of(content))
                self._recent = number
                answer = connection.request("PUT", _path(number), content, {"content-type": MEDIA_TYPE})
                if answer.status != 201:
                    raise AssertionError(f"PUT {_path(number)}: {answer.status} {answer.body!r}")
                self._acknowledged[number] += 1
                self.writes += 1

    def _read(self) -> None:
        dice = random.Random(2)
        pause = time.monotonic()
        with Connection(self._site) as connection:
            while not self._stop.is_set():
                # Mostly read the tag that is being overwritten, before and after its acknowledgement.
                number = self._recent if dice.random() < 0.9 else dice.randrange(TAGS)
                oldest = self._acknowledged[number] - 1
                answer = connection.request("GET", _path(number))
                if self._check:
                    self._compare(number, oldest, answer.body, answer.header("docker-content-digest"))
                self.reads += 1
                pause += 1 / RATE
                self._stop.wait(max(0.0, pause - time.monotonic()))

    def _compare(self, number: int, oldest: int, body: bytes, digest: str) -> None:
        allowed = self._digests[number][oldest:]
        if digest not in allowed or digest_of(body) != digest:
            raise AssertionError(f"{tag(number)}: stale: {digest} of {digest_of(body)}, not one of {allowed}")


def _path(number: int) -> str:
    return f"/v2/{REPOSITORY}/manifests/{tag(number)}"
