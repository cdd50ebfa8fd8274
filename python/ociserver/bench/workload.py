"""What a workload is, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ociserver._core import LoadStep

__all__ = ["Operation", "Result", "Undo", "Unit", "Workload"]

Unit = Literal["requests/s", "bytes/s", "images/s"]


@dataclass(frozen=True, slots=True)
class Undo:
    """What takes something back that was pushed: a DELETE of this path. Lower orders come first."""

    order: int
    path: str
    is_tag: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """What is counted as one: requests of one client, one after another.

    Args:
        steps: the requests.
        repositories: that they are for.
        undo: takes back what they push.
    """

    steps: Sequence[LoadStep]
    repositories: Sequence[str]
    undo: Sequence[Undo] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Something to measure.

    Args:
        unit: what its rate is in.
        clients: that work at once.
        operations: what is measured; without end if they write, as nothing is written twice.
        setup: is made before, one stage after another.
        check: makes sure, before the clock starts, that what is read is right.
        repeat: the operations are made over and over again.
        costly: making an operation ready takes long (its digest).
        repositories: that the operations are for.
        catalog: needs the right to read the catalog.
        refusals: what a status means here, for people.
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
    """What was measured; the fields are those of the JSON."""

    name: str
    unit: Unit
    clients: int
    rate: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    count: int = 0
    seconds: float = 0.0
    bytes: int = 0
    client_cpu_seconds: float = 0.0
    errors: dict[str, int] = field(default_factory=dict)
    failed: str | None = None
    """Why there is no figure, or None."""
