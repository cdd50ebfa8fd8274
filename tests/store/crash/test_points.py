"""Killed at every point where what is on the disk changes.

A few seconds' worth of them by default: each point once, wherever it comes first. All of them in every
scenario, with one process and with two, where FULL_TESTS is set.
"""

from __future__ import annotations

import ast
import os
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

import ociserver.store
from tests.store.crash.judging import assert_all_is_freed, assert_nothing_lost
from tests.store.crash.registry import Ledger, Registry
from tests.store.crash.scenarios import SCENARIOS, Round, Scenario
from tests.store.crash.server import DiedError, Victim
from tests.support.summary import KILLED, Record

FULL = bool(os.environ.get("FULL_TESTS"))

pytestmark = pytest.mark.timeout(900 if FULL else 120)

AT_LEAST = 2
"""Kills in a scenario all of whose points have been killed at in others."""

FIRST_START = ("folders made", "before migration", "after migration")

played: set[str] = set()
killed: Counter[str] = Counter()
"""By the failpoint."""

LEAST_KILLS = 200 if FULL else 50
"""Of a whole run of this file."""


class Play:
    """A scenario over one server, round after round."""

    def __init__(self, victim: Victim, scenario: Scenario, record: Record) -> None:
        self._victim = victim
        self._scenario = scenario
        self._record = record
        self._ledger = Ledger()
        self._seed = 0
        victim.start()
        self._registry = Registry(victim.port, self._ledger)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._registry.close()

    def undisturbed(self) -> list[tuple[str, int]]:
        """The points that it reaches, and which time of each."""
        play = self._next()
        self._scenario.prepare(play)
        self._victim.reached()
        self._scenario.act(play)
        counts: Counter[str] = Counter()
        points = []
        for point in self._victim.reached():
            counts[point] += 1
            points.append((point, counts[point]))
        self._registry.verify()
        return points

    def kill(self, point: str, count: int) -> bool:
        """Whether it came to that point; then it was killed there, and all is well again."""
        play = self._next()
        self._scenario.prepare(play)
        self._victim.arm(point, count)
        try:
            self._scenario.act(play)
        except DiedError as died:
            self._victim.disarm()
            self._rise(died)
        else:
            self._victim.disarm()
            return False
        self._registry.verify()
        if not self._scenario.is_damaged:
            assert_nothing_lost(self._victim.data)
        # The client's next try.
        self._scenario.act(replace(play, again=True))
        self._registry.verify()
        assert_nothing_lost(self._victim.data)
        killed[point] += 1
        self._record(KILLED, point)
        return True

    def end(self) -> None:
        self._registry.verify()
        assert_all_is_freed(self._victim.data)

    def _next(self) -> Round:
        self._seed += 1
        self._registry.uploads.clear()
        return Round(self._victim, self._registry, f"{self._scenario.name}/{self._seed}", self._seed)

    def _rise(self, died: DiedError) -> None:
        if died.is_server:
            self._victim.wait_until_dead()
            self._victim.start()
            self._registry.connect(self._victim.port)


class PlayOfTwo(Play):
    """Of two processes one dies, and the other serves on; a third takes its place in a while."""

    def _rise(self, died: DiedError) -> None:
        if died.is_server:
            self._registry.connect(self._victim.port)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_killed_at(scenario: Scenario, tmp_path: Path, record_property: Record) -> None:
    with Victim(tmp_path) as victim, Play(victim, scenario, record_property) as play:
        points = play.undisturbed()
        for point, count in points if FULL else _some(points, scenario.name):
            # How many pieces a body comes in is the network's choice: a later one may not come.
            assert play.kill(point, count) or count > 1, f"{point} was not reached again"
        play.end()
    played.add(scenario.name)


@pytest.mark.parametrize("point", FIRST_START)
def test_killed_at_the_first_start(point: str, tmp_path: Path, record_property: Record) -> None:
    with Victim(tmp_path) as victim:
        victim.arm(point, 1)
        with pytest.raises(DiedError):
            victim.start()
        victim.disarm()
        victim.start()
        registry = Registry(victim.port, Ledger())
        registry.post("first", b"blob")
        registry.verify()
        registry.close()
        assert_nothing_lost(victim.data)
    killed[point] += 1
    record_property(KILLED, point)
    played.add(point)


OF_TWO = [each for each in SCENARIOS if FULL or each.name in ("put-large", "chunks", "image", "delete-manifest")]


@pytest.mark.parametrize("scenario", OF_TWO, ids=lambda scenario: scenario.name)
def test_one_of_two_processes_is_killed_at(scenario: Scenario, tmp_path: Path, record_property: Record) -> None:
    """The other process has at once what the killed one had acknowledged, and answers the client's next request."""
    with Victim(tmp_path, "--workers", "2") as victim, PlayOfTwo(victim, scenario, record_property) as play:
        points = play.undisturbed()
        for point, count in points if FULL else random.Random(scenario.name).sample(points, 2):
            play.kill(point, count)
        play.end()


def test_every_point_was_killed_at() -> None:
    """Every call of `reach` in the store, and every kind of write before and after its commit."""
    everything = {scenario.name for scenario in SCENARIOS} | set(FIRST_START)
    if played != everything:
        pytest.skip(f"not all were played: {', '.join(sorted(everything - played))}")
    assert _points_of_the_store() - set(killed) == set()
    assert killed.total() >= LEAST_KILLS


def _some(points: list[tuple[str, int]], name: str) -> list[tuple[str, int]]:
    new = [(point, count) for point, count in points if count == 1 and not killed[point]]
    others = sorted(set(points) - set(new))
    missing = max(AT_LEAST - len(new), 0)
    return new + random.Random(name).sample(others, min(missing, len(others)))


def _points_of_the_store() -> set[str]:
    points, kinds = set(), set()
    # tests/store/test_backup.py kills a backup, which changes nothing of the store.
    paths = [path for path in Path(ociserver.store.__path__[0]).glob("*.py") if path.stem != "backup"]
    for path in paths:
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Name) and call.func.id == "reach":
                point = ast.literal_eval(call.args[0])
                points.add(f"{point} {{}}" if len(call.args) > 1 else point)
        kinds |= _writes(ast.parse(path.read_text()))
    assert len(kinds) > 15
    return {point.format(kind) for point in points for kind in kinds}


def _writes(tree: ast.Module) -> set[str]:
    """The works that a module makes, and does not read with."""
    modules = {"checking", "manifests", "pages", "collecting", "writes"}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    reads = [call for call in calls if ast.unparse(call.func).endswith(("read", "_page"))]
    read = {id(argument) for call in reads for argument in call.args}
    works = [_work(call) for call in calls if id(call) not in read]
    return {
        work.attr
        for work in works
        if isinstance(work, ast.Attribute) and isinstance(work.value, ast.Name) and work.value.id in modules
    }


def _work(call: ast.Call) -> ast.expr:
    """The function that is called, or that `partial` will call with what it is given."""
    return call.args[0] if ast.unparse(call.func) == "partial" else call.func
