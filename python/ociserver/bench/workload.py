"""The parts of a workload, and its result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ociserver._core import LoadStep

__all__ = ["Operation", "Result", "Undo", "Unit", "Workload"]

Unit = Literal["requests/s", "bytes/s", "images/s"]


@dataclass(frozen=True, slots=True)
class Undo:
    """Deletes something that was pushed, by a DELETE of this path. Lower orders come first."""

    order: int
    path: str
    is_tag: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """What counts as one operation: consecutive requests of one client.

    Args:
        steps: the requests.
        repositories: of the requests.
        undo: deletes what they push.
    """

    steps: Sequence[LoadStep]
    repositories: Sequence[str]
    undo: Sequence[Undo] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Something to measure.

    Args:
        unit: of the rate.
        clients: number of concurrent clients.
        operations: what is measured. Infinite if they write, because each writes something new.
        setup: what is pushed before, one stage after another.
        check: verifies, before the measurement, that reads return the right contents.
        repeat: repeat the operations until the time is over.
        costly: preparing an operation takes long, because of its digest.
        repositories: of the operations.
        catalog: the workload needs permission to read the catalog.
        refusals: messages for statuses with a special meaning here.
    """

    unit: Unit
    clients: int
    operations: Iterator[Operation]
    setup: Sequence[Sequence[Operation]] = ()
    check: Sequence[Operation] = ()
    repeat: bool = False
    costly: bool = False
    repositories: Sequence[str]
    catalog: bool = False
    refusals: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Result:
    """The measured figures. The fields are those of the JSON."""

    name: str
    unit: Unit
    clients: int
    rate: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    p999_ms: float = 0.0
    count: int = 0
    seconds: float = 0.0
    bytes: int = 0
    client_cpu_seconds: float = 0.0
    server_cpu_seconds: float | None = None
    """None if the server's processes are not known."""
    errors: dict[str, int] = field(default_factory=dict)
    beside: dict[str, float] = field(default_factory=dict)
    """The rates of the workloads that ran at the same time, by name."""
    failed: str | None = None
    """Why there is no figure, or None."""
