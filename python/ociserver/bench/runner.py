"""Makes a workload ready, measures it, and takes back what it pushed."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice
from typing import Final

from ociserver._core import LoadReport, LoadStep
from ociserver.bench.pushes import Pushes
from ociserver.bench.target import BenchError, Target
from ociserver.bench.workload import Operation, Result, Undo, Workload
from ociserver.bench.workloads import WORKLOADS, Settings

__all__ = ["Bench"]

Progress = Callable[[float], None]
"""Is told how much of a workload is done, from 0 to 1."""

_TRIED: Final = 4
"""How many operations of each client are tried before the clock starts, to see whether and how fast it goes."""

_MORE: Final = 3.0
_MORE_COSTLY: Final = 1.5
"""How many times as many operations as should be needed are made ready; a run that has none left ends early."""

_MOST: Final = 200_000
"""Operations that are made ready at most: some 1.5 KB each."""

_SCOPES: Final = 32
"""Repositories that one token is asked for."""

_GONE: Final = (200, 202, 204, 404)
_TAG_GONE: Final = (*_GONE, 400, 405)
"""Many registries know no deletion of tags: they go with their manifest."""


class Bench:
    """Measures one registry.

    Args:
        target: the registry.
        settings: how to measure.
        keep: leave what is pushed.
    """

    def __init__(self, target: Target, settings: Settings, *, keep: bool = False) -> None:
        self._target = target
        self._settings = settings
        self._keep = keep
        self._pushes = Pushes(target.prefix)
        self.left: Counter[str] = Counter()
        """Deletions that failed, by status or kind."""

    def run(self, name: str, progress: Progress = lambda done: None) -> Result:
        """Measure one workload. What goes wrong with the registry is in the result."""
        workload = WORKLOADS[name](self._settings, self._pushes)
        result = Result(name, workload.unit, workload.clients)
        made = _Made()
        try:
            self._measure(workload, result, made, progress)
        except BenchError as error:
            # It went away, or lets us in no more: what was measured before is kept.
            result.failed = str(error)
        finally:
            if not self._keep:
                self._clean(made.undo)
        return result

    def _measure(self, workload: Workload, result: Result, made: _Made, progress: Progress) -> None:
        for stage in workload.setup:
            if failure := self._set_up(stage, made):
                _fail(result, failure, workload, "setting up: ")
                return
        scopes = _scopes(workload.repositories, catalog=workload.catalog)
        if workload.check:
            report = self._run(workload.check, made, scopes, clients=1)
            if report.errors:
                _fail(result, report, workload)
                return
        if workload.repeat:
            operations = list(workload.operations)
            count = len(operations)
        else:
            count = self._settings.clients * _TRIED if not workload.costly else workload.clients
            tried = self._run(list(islice(workload.operations, count)), made, scopes, clients=workload.clients)
            if not tried.count:
                _fail(result, tried, workload)
                return
            needed = tried.count / tried.seconds * self._settings.seconds
            more = _MORE_COSTLY if workload.costly else _MORE
            count = min(math.ceil(needed * more) + 2 * workload.clients, _MOST)
            operations = list(islice(workload.operations, count))
        began, cpu = time.monotonic(), time.process_time()

        def tell(*_: int) -> None:
            progress(min((time.monotonic() - began) / self._settings.seconds, 1.0))

        report = self._run(
            operations, made, scopes, clients=workload.clients, seconds=self._settings.seconds,
            repeat=workload.repeat, tell=tell,
        )  # fmt: skip
        result.client_cpu_seconds = time.process_time() - cpu
        _fill(result, report)
        if not report.count:
            _fail(result, report, workload)

    def _set_up(self, stage: Sequence[Operation], made: _Made) -> LoadReport | None:
        """Push what a workload needs; returns how that failed, if it did."""
        for part, repositories in _parts(stage):
            report = self._run(part, made, _scopes(repositories), clients=self._settings.clients)
            if report.errors:
                return report
        return None

    def _run(
        self,
        operations: Sequence[Operation],
        made: _Made,
        scopes: Sequence[str],
        *,
        clients: int,
        seconds: float | None = None,
        repeat: bool = False,
        tell: Callable[[int, int], None] = lambda begun, finished: None,
    ) -> LoadReport:
        header = self._target.header(scopes)
        begun = len(operations)

        def progress(so_far: int, finished: int) -> None:
            nonlocal begun
            begun = so_far
            tell(so_far, finished)

        try:
            report = self._target.run(
                [operation.steps for operation in operations], header, clients=clients, seconds=seconds,
                repeat=repeat, progress=progress,
            )  # fmt: skip
            begun = report.begun
        finally:
            # What was begun may have been done, whatever its answer was.
            made.undo += [(undo, operation.repositories) for operation in operations[:begun] for undo in operation.undo]
        return report

    def _clean(self, undo: Sequence[tuple[Undo, Sequence[str]]]) -> None:
        ordered = sorted(undo, key=lambda entry: entry[0].order)
        for _, entries in groupby(ordered, key=lambda entry: entry[0].order):
            deletions = [Operation([_deletion(one)], repositories) for one, repositories in entries]
            for part, repositories in _parts(deletions):
                try:
                    header = self._target.header(_scopes(repositories, delete=True))
                except BenchError:
                    self.left["no connection"] += len(part)
                    continue
                report = self._target.run(
                    [operation.steps for operation in part], header, clients=self._settings.clients
                )
                self.left.update(report.errors)


class _Made:
    """What was pushed so far."""

    def __init__(self) -> None:
        self.undo: list[tuple[Undo, Sequence[str]]] = []


def _deletion(undo: Undo) -> LoadStep:
    return LoadStep("DELETE", undo.path, expect=_TAG_GONE if undo.is_tag else _GONE)


def _parts(operations: Sequence[Operation]) -> Iterator[tuple[list[Operation], list[str]]]:
    """The operations in parts of so few repositories that one token will do for each."""
    part: list[Operation] = []
    repositories: dict[str, None] = {}
    for operation in operations:
        if part and len(repositories | dict.fromkeys(operation.repositories)) > _SCOPES:
            yield part, list(repositories)
            part, repositories = [], {}
        part.append(operation)
        repositories |= dict.fromkeys(operation.repositories)
    if part:
        yield part, list(repositories)


def _scopes(repositories: Sequence[str], *, catalog: bool = False, delete: bool = False) -> list[str]:
    actions = "delete,pull" if delete else "pull,push"
    return ["registry:catalog:*"] * catalog + [f"repository:{name}:{actions}" for name in repositories]


def _fill(result: Result, report: LoadReport) -> None:
    result.count = report.count
    result.seconds = report.seconds
    result.bytes = report.sent + report.received
    result.errors = dict(report.errors)
    result.p50_ms = report.p50_s * 1000
    result.p99_ms = report.p99_s * 1000
    amount = result.bytes if result.unit == "bytes/s" else result.count
    result.rate = amount / report.seconds if report.seconds else 0.0


def _fail(result: Result, report: LoadReport, workload: Workload, where: str = "") -> None:
    result.errors = dict(report.errors)
    known = next((text for status, text in workload.refusals.items() if status in report.errors), None)
    result.failed = known if known and not where else f"{where}{report.first_error or 'nothing was answered in time'}"
