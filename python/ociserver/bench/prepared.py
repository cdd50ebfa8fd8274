"""A workload on one registry: set up once, measured once or several times, and cleaned up."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice
from typing import Final

from ociserver._core import LoadReport, LoadStep
from ociserver.bench.server_cpu import server_cpu_seconds
from ociserver.bench.target import BenchError, Target
from ociserver.bench.workload import Operation, Result, Undo, Workload
from ociserver.bench.workloads import Settings

__all__ = ["Prepared", "Progress"]

Progress = Callable[[float], None]
"""Called with the finished part of a workload, from 0 to 1."""

_TRIED: Final = 4
"""Operations of each client before the measurement, to check the workload and to estimate its rate."""

_MORE: Final = 3.0
_MORE_COSTLY: Final = 1.5
"""How many times the estimated number of operations is prepared. A run that has none left ends early."""

_MOST: Final = 200_000
"""Maximum number of prepared operations; about 1.5 KB each."""

_SCOPES: Final = 32
"""Maximum number of repositories for one token."""

_GONE: Final = (200, 202, 204, 404)
_TAG_GONE: Final = (*_GONE, 400, 405)
"""Many registries cannot delete tags. The tags are deleted with their manifest."""


class Prepared:
    """One workload on one registry. Errors of the registry are in the result, and are not raised.

    Args:
        name: of the results.
        target: the registry.
        settings: how to measure.
        workload: what to measure.
    """

    def __init__(self, name: str, target: Target, settings: Settings, workload: Workload) -> None:
        self._name = name
        self._target = target
        self._settings = settings
        self._workload = workload
        self._scopes = _scopes(workload.repositories, catalog=workload.catalog)
        self._failed: Result | None = None
        self._rate: float | None = None
        self._operations: deque[Operation] = deque()
        self._undo: list[tuple[Undo, Sequence[str]]] = []
        self._is_set_up = False

    @property
    def failed(self) -> str | None:
        """Why nothing more can be measured, or None."""
        return self._failed.failed if self._failed else None

    def set_up(self) -> None:
        """Push what is read later, and check that reads return it."""
        self._is_set_up = True
        self._try(self._set_up)

    def make_ready(self) -> None:
        """Prepare the next operations of a workload that writes. The first call tries a few, to estimate the number."""
        if not self._is_set_up:
            self.set_up()
        if not self._failed:
            self._try(self._make_ready)

    def measure(self, progress: Progress = lambda done: None) -> Result:
        """Measure what was prepared. Prepares it first if necessary."""
        if not self._operations or not self._is_set_up:
            self.make_ready()
        if self._failed:
            return self._failed
        result = self.result()
        if not self._operations:
            result.failed = "no operations are left"
            return result
        try:
            self._measure(result, progress)
        except BenchError as error:
            # The registry has become unreachable, or refuses the credentials.
            result.failed = str(error)
        return result

    def clean(self) -> Counter[str]:
        """Delete what was pushed. Returns how many deletions failed, by status or kind.

        What is read later is pushed again before the next measurement.
        """
        self._is_set_up = False
        left: Counter[str] = Counter()
        undo, self._undo = sorted(self._undo, key=lambda entry: entry[0].order), []
        for _, entries in groupby(undo, key=lambda entry: entry[0].order):
            deletions = [Operation([_deletion(one)], repositories) for one, repositories in entries]
            for part, repositories in _parts(deletions):
                try:
                    header = self._target.header(_scopes(repositories, delete=True))
                except BenchError:
                    left["no connection"] += len(part)
                    continue
                report = self._target.run(
                    [operation.steps for operation in part], header, clients=self._settings.clients
                )
                left.update(report.errors)
        return left

    def _try(self, do: Callable[[], None]) -> None:
        try:
            do()
        except BenchError as error:
            self._failed = self.result()
            self._failed.failed = str(error)

    def result(self) -> Result:
        """A result without figures."""
        return Result(self._name, self._workload.unit, self._workload.clients)

    def _set_up(self) -> None:
        workload, limit = self._workload, self._settings.setup_seconds
        end = time.monotonic() + limit if limit is not None else None
        for stage in workload.setup:
            done = 0
            for part, repositories in _parts(stage):
                left = max(end - time.monotonic(), 0.0) if end is not None else None
                report = self._run(part, _scopes(repositories), clients=self._settings.clients, seconds=left)
                done += report.begun
                if report.errors or report.begun < len(part):
                    self._fail(report, "setting up: ")
                    if self._failed and not report.errors:
                        self._failed.failed = (
                            f"setting up: only {done} of {len(stage)} pushes were finished within {limit:g} s"
                        )
                    return
        if workload.check:
            report = self._run(workload.check, self._scopes, clients=1)
            if report.errors:
                self._fail(report)

    def _make_ready(self) -> None:
        workload, settings = self._workload, self._settings
        if workload.repeat:
            if not self._operations:
                self._operations.extend(workload.operations)
            return
        if self._rate is None:
            count = settings.clients * _TRIED if not workload.costly else workload.clients
            tried = self._run(list(islice(workload.operations, count)), self._scopes, clients=workload.clients)
            if not tried.count:
                self._fail(tried)
                return
            self._rate = tried.count / tried.seconds
        more = _MORE_COSTLY if workload.costly else _MORE
        count = min(math.ceil(self._rate * settings.seconds * more) + 2 * workload.clients, _MOST)
        self._operations.extend(islice(workload.operations, max(count - len(self._operations), 0)))

    def _measure(self, result: Result, progress: Progress) -> None:
        workload, settings = self._workload, self._settings
        began, cpu, server_cpu = time.monotonic(), time.process_time(), server_cpu_seconds(settings.server)

        def tell(*_: int) -> None:
            progress(min((time.monotonic() - began) / settings.seconds, 1.0))

        report = self._run(
            list(self._operations), self._scopes, clients=workload.clients, seconds=settings.seconds,
            repeat=workload.repeat, tell=tell,
        )  # fmt: skip
        result.client_cpu_seconds = time.process_time() - cpu
        result.server_cpu_seconds = _since(server_cpu, server_cpu_seconds(settings.server))
        if not workload.repeat:
            # Operations that did not begin can be used next time.
            for _ in range(report.begun):
                self._operations.popleft()
        _fill(result, report)
        if report.count:
            self._rate = report.count / report.seconds
        else:
            _say(result, report, workload)

    def _run(
        self,
        operations: Sequence[Operation],
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
                repeat=repeat, hash=self._settings.hash, progress=progress,
            )  # fmt: skip
            begun = report.begun
        finally:
            # An operation that began may have had an effect, whatever its answer was.
            self._undo += [
                (undo, operation.repositories) for operation in operations[:begun] for undo in operation.undo
            ]
        return report

    def _fail(self, report: LoadReport, where: str = "") -> None:
        self._failed = self.result()
        _say(self._failed, report, self._workload, where)


def _deletion(undo: Undo) -> LoadStep:
    return LoadStep("DELETE", undo.path, expect=_TAG_GONE if undo.is_tag else _GONE)


def _parts(operations: Sequence[Operation]) -> Iterator[tuple[list[Operation], list[str]]]:
    """The operations in groups, each for so few repositories that one token is enough."""
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
    result.p999_ms = report.p999_s * 1000
    amount = result.bytes if result.unit == "bytes/s" else result.count
    result.rate = amount / report.seconds if report.seconds else 0.0


def _since(before: float | None, now: float | None) -> float | None:
    # Less than before: a process has ended, and its time is lost.
    return now - before if before is not None and now is not None and now >= before else None


def _say(result: Result, report: LoadReport, workload: Workload, where: str = "") -> None:
    """Record why there is no figure."""
    result.errors = dict(report.errors)
    known = next((text for status, text in workload.refusals.items() if status in report.errors), None)
    result.failed = known if known and not where else f"{where}{report.first_error or 'no answer in time'}"
