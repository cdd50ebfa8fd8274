"""What the clients do until the power is cut."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from ociserver.store.sqlite import Durability
from tests.store.crash.scenarios import SCENARIOS, Round
from tests.store.powercut.history import History
from tests.store.powercut.recording import Recorded, SmallRound, Witness
from tests.support.threads import together

CLIENTS = 4
BURST = 5
"""Small blobs that each client pushes between two scenarios."""

_NAMES = (
    "post-small",
    "put-large",
    "small-chunks",
    "image",
    "move-tags",
    "delete-tag",
    "post-large",
    "mount",
    "delete-blob",
    "push-again",
    "put-small",
    "delete-manifest",
    "cancel-upload",
)
"""Scenarios that do nothing past the server."""

_PLAYED = [scenario for name in _NAMES for scenario in SCENARIOS if scenario.name == name]
_AT_FULL_SIZE = [scenario for scenario in SCENARIOS if scenario.name in ("post-large", "chunks", "delete-repository")]


def record(folder: Path, rounds: int, durability: Durability, *options: str) -> tuple[Recorded, list[History]]:
    """A server that is started on nothing, used, stopped, started again, used and killed."""
    folder.mkdir()
    with Recorded(folder, durability, *options) as server:
        histories = [History(server.recording) for _ in range(CLIENTS + 1)]
        for number in range(rounds):
            server.start()
            works = [partial(_play, server, history, number, who) for who, history in enumerate(histories[1:])]
            together([*works, partial(_play_slowly, server, histories[0], number)])
            if number + 1 < rounds:
                server.stop()
            else:
                server.kill()
        server.assert_complete()
    return server, histories


def _play(server: Recorded, history: History, number: int, who: int) -> None:
    client = Witness(server.port, history)
    for scenario in _PLAYED[who:] + _PLAYED[:who]:
        play = SmallRound(server, client, f"client-{who}/{scenario.name}/{number}", number)
        scenario.prepare(play)
        scenario.act(play)
        client.uploads.clear()
        for name in range(BURST):
            client.post(play.repository, play.content(f"burst {name}"))
    client.close()


def _play_slowly(server: Recorded, history: History, number: int) -> None:
    """Large blobs, and commands beside the server, which frees what the others have deleted."""
    client = Witness(server.port, history)
    for scenario in _AT_FULL_SIZE:
        play = Round(server, client, f"slow/{scenario.name}/{number}", number)
        scenario.prepare(play)
        scenario.act(play)
        client.uploads.clear()
    # Times are of whole seconds: what has just been deleted is collected in the next.
    time.sleep(1)
    server.collect()
    client.close()
