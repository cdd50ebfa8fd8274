"""Killed at any time, while many clients push, mount, move tags and delete, and collection runs."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.store.crash.judging import assert_all_is_freed, assert_nothing_lost
from tests.store.crash.registry import Ledger, Registry
from tests.store.crash.scenarios import LARGE, SMALL, Round
from tests.store.crash.server import DiedError, Victim
from tests.support.summary import KILLED, Record

FULL = bool(os.environ.get("FULL_TESTS"))
RUNS = 5 if FULL else 1
"""With one process, and as many with two."""

KILLS = 30 if FULL else 5
"""Of each run."""

CLIENTS = 8

pytestmark = pytest.mark.timeout(1800 if FULL else 120)

SHARED = [random.Random(number).randbytes(size) for number, size in enumerate((SMALL, 40_000, LARGE) * 3)]
"""Contents that every client pushes, mounts and deletes, so that copies gain and lose links all the time."""


class Worker:
    """One client with repositories of its own, in which it knows what has to be."""

    def __init__(self, victim: Victim, number: int) -> None:
        self._victim = victim
        self._random = random.Random(number)
        self._ledger = Ledger()
        self._name = f"client-{number}"
        self._seed = 0
        self.failures: list[BaseException] = []
        self.requests = 0

    def run(self) -> None:
        """Until the server dies."""
        with self._registry() as registry:
            try:
                while True:
                    self._work(registry)
                    self.requests += 1
            except DiedError:
                pass
            except BaseException as failure:
                self.failures.append(failure)

    def verify(self) -> None:
        with self._registry() as registry:
            registry.verify()

    @contextmanager
    def _registry(self) -> Iterator[Registry]:
        registry = Registry(self._victim.port, self._ledger)
        try:
            yield registry
        finally:
            registry.close()

    def _work(self, registry: Registry) -> None:
        self._seed += 1
        play = Round(self._victim, registry, self._name, self._seed)
        repository, chance = self._name, self._random
        there = [path for path in self._ledger.there if "/blobs/" in path and "/mounted/" in path]
        shared = chance.choice(SHARED)
        deed = chance.randrange(8)
        if deed == 0:
            registry.post(repository, shared)
        elif deed == 1:
            registry.put(repository, shared)
        elif deed == 2:
            location = registry.start(repository)
            registry.patch(location, shared[: len(shared) // 2])
            registry.finish(repository, location, shared, shared[len(shared) // 2 :])
        elif deed == 3:
            registry.post(repository, shared)
            registry.mount(repository, f"{repository}/mounted/{self._seed}", shared)
        elif deed == 4:
            play.push_image("latest", f"v{self._seed % 5}", layer=shared)
        elif deed == 5:
            play.push_image("latest", f"v{self._seed % 5}", layer=play.content("own", SMALL))
        elif deed == 6 and there:
            registry.delete(chance.choice(there))
        else:
            registry.start(repository)
            registry.uploads.clear()


@pytest.mark.parametrize("workers", [1, 2], ids=["one", "two"])
@pytest.mark.parametrize("run", range(RUNS))
def test_killed_at_any_time(run: int, workers: int, tmp_path: Path, record_property: Record) -> None:
    """With two processes, both are killed, and so is the process that has started them."""
    chance = random.Random(run)
    with Victim(tmp_path, "--workers", str(workers)) as victim:
        clients = [Worker(victim, number) for number in range(CLIENTS)]
        for _ in range(KILLS):
            victim.start()
            for client in clients:
                client.verify()
            threads = [threading.Thread(target=client.run) for client in clients]
            collector = threading.Thread(target=_collect, args=(victim,))
            for thread in (*threads, collector):
                thread.start()
            time.sleep(chance.uniform(0.02, 0.6))
            assert len(victim.workers()) == (workers if workers > 1 else 0)
            victim.kill()
            record_property(KILLED, "")
            for thread in (*threads, collector):
                thread.join()
            assert [failure for client in clients for failure in client.failures] == []
            assert_nothing_lost(victim.data)
        victim.start()
        for client in clients:
            client.verify()
        assert_all_is_freed(victim.data)
    print(f"{KILLS} kills among {sum(client.requests for client in clients)} deeds")


def _collect(victim: Victim) -> None:
    """Beside the server, of everything that nothing links; links stay, since their clients count on them."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(victim.data / "registry.db", timeout=30)) as database:
        database.execute("UPDATE copies SET idle_since = idle_since - 100")
        database.commit()
    victim.run("collect", "--grace", "0s")
