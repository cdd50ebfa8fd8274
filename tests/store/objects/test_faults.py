"""Two nodes, while the network to the bucket is bad, the bucket is down, or PostgreSQL restarts.

Each request is answered in limited time, nothing acknowledged is lost, uploads go on at the other node, and readiness
says what is wrong until it works again.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final

import pytest

from tests.contract.contents import digest_of
from tests.store.objects.faulty import Clients, Upload, pull
from tests.store.objects.looking import PART, PREFIX, assert_known
from tests.store.objects.victim import store_of
from tests.support import postgres
from tests.support.bucket import Versity, versity
from tests.support.cluster import Cluster, cluster, over_bucket
from tests.support.http import send
from tests.support.server import Server
from tests.support.toxic import Toxic, toxic

FULL: Final = bool(os.environ.get("FULL_TESTS"))

RETRY_S: Final = 2

MOST_S: Final = 60.0
"""How long a request may take: two operations of the bucket that wait for as long as they may, and a loaded machine."""

CLIENTS: Final = 4


@dataclass(frozen=True, slots=True)
class Place:
    """All parts."""

    database: postgres.Cluster
    bucket: Versity
    network: Toxic
    nodes: Cluster

    @property
    def servers(self) -> list[Server]:
        return [node.server for node in self.nodes.nodes]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("faults")
    database = postgres.Cluster()
    try:
        with versity(folder) as bucket, toxic(bucket.port, folder / "network") as network:
            more = f'part-size = "{PART}"\nretry = "{RETRY_S}s"'
            url = database.create("registry")
            text = over_bucket(url, bucket, prefix=PREFIX, port=network.port, more=more)
            with cluster(folder, lambda _: text, environment=bucket.environment()) as nodes:
                yield Place(database, bucket, network, nodes)
    finally:
        database.close()


@contextmanager
def killed(place: Place) -> Iterator[None]:
    place.bucket.process.kill()
    yield
    place.bucket.process.start()


@contextmanager
def stopped(place: Place) -> Iterator[None]:
    os.kill(place.bucket.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(place.bucket.process.pid, signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and for how long.

    Args:
        is_noticed: whether the nodes are no longer ready, because no request to the bucket succeeds.
        can_read: whether a download succeeds meanwhile.
        restarts: whether PostgreSQL restarts meanwhile.
    """

    name: str
    begin: Callable[[Place], AbstractContextManager[None]]
    seconds: float
    is_noticed: bool = False
    can_read: bool = False
    restarts: bool = False


FAULTS = [
    Fault(
        "cut-in-a-part", lambda place: place.network.cut(3_000_000, direction="upstream"), 2 * RETRY_S, can_read=True
    ),
    Fault("cut-in-a-read", lambda place: place.network.cut(2_000_000), 2, can_read=True, restarts=True),
    Fault("down", lambda place: place.network.down(), 5, is_noticed=True, restarts=True),
]
if FULL:
    FAULTS += [
        Fault("slow", lambda place: place.network.latency(0.3), 10, can_read=True),
        Fault("killed", killed, 5, is_noticed=True),
        Fault("stopped", stopped, 10),
        # What was sent meanwhile is never answered, and given up after half a minute.
        Fault("hanging", lambda place: place.network.hanging(), 40, is_noticed=True),
    ]


def readiness(server: Server) -> str:
    """Why the node is not ready; "" if it is."""
    answer = send(server, "GET", "/readyz")
    return "" if answer.status == 200 else answer.body.decode()


def await_readiness(server: Server, reason: str, seconds: float = MOST_S) -> None:
    """Wait until this is in the reason why the node is not ready; with "", until it is."""
    deadline = time.monotonic() + seconds
    while (found := readiness(server)) != reason and not (reason and reason in found):
        assert time.monotonic() < deadline, f"not {reason!r} in {seconds:g} s, but {found!r}"
        time.sleep(0.05)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_faults(place: Place, fault: Fault) -> None:
    clients = Clients(place.servers, MOST_S)
    content = random.randbytes(3 * PART)
    there, before = Upload(clients, content[1:], 0), Upload(clients, content, 0)
    there.finish()
    before.patch(PART + 7)
    with clients.working(CLIENTS):
        time.sleep(0.5)
        with fault.begin(place):
            end = time.monotonic() + fault.seconds
            if fault.restarts:
                place.database.stop()
                for server in place.servers:
                    await_readiness(server, "database")
                place.database.start()
            if fault.is_noticed:
                for server in place.servers:
                    await_readiness(server, "bucket")
            if fault.can_read:
                pull(clients, 0, digest_of(content[1:]), len(content) - 1)
            time.sleep(max(0, end - time.monotonic()))
        for server in place.servers:
            await_readiness(server, "")
    while before.position < len(content):
        before.patch(PART)
    before.finish()
    print(f"{fault.name}: {dict(clients.counts)}, slowest {clients.slowest_s:.1f} s")
    # Otherwise it has shown nothing.
    assert clients.counts["PUT 201"] > CLIENTS
    # What a refused request held is free as soon as the database can be reached.
    assert clients.counts["PATCH 416"] + clients.counts["PUT 416"] < 5 * CLIENTS
    for digest, size in clients.acknowledged.items():
        for node in range(2):
            pull(clients, node, digest, size)
    asyncio.run(look(place))


async def look(place: Place) -> None:
    """Compare what is stored with what is recorded."""
    options = json.dumps(place.bucket.options())
    async with store_of(place.database.url("registry"), f"{place.bucket.url}/{PREFIX}", options) as store:
        await assert_known(store, place.bucket)
