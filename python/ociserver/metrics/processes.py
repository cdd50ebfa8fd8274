"""Processor time, memory and open files of all processes of a server."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

__all__ = ["Processes"]

_PROC: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class _Process:
    cpu_s: float
    virtual: int
    resident: int
    files: int


class Processes:
    """The names are those of prometheus_client's own collector, which sees only one process."""

    def __init__(self) -> None:
        self._began = time.time()
        self._cpu_s = 0.0

    def collect(self, workers: Sequence[int]) -> Iterator[Metric]:
        """The metrics of this process and its workers.

        Args:
            workers: process ids. Processes that are not this one or its children do not count.
        """
        # First of the children that have ended: one that ends now is then missing once, and not counted twice.
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = os.getpid()
        alive = [found for pid in {own, *workers} if (found := _read(pid, own)) is not None]
        if alive:
            cpu_s = ended.ru_utime + ended.ru_stime + sum(each.cpu_s for each in alive)
        else:
            used = resource.getrusage(resource.RUSAGE_SELF)
            cpu_s = used.ru_utime + used.ru_stime + ended.ru_utime + ended.ru_stime
        self._cpu_s = max(self._cpu_s, cpu_s)
        yield CounterMetricFamily(
            "process_cpu_seconds",
            "User and system time of all processes of the server, of those that have ended too.",
            self._cpu_s,
        )
        yield GaugeMetricFamily(
            "process_start_time_seconds", "When the server started, in seconds since 1970.", self._began
        )
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        yield GaugeMetricFamily("process_max_fds", "Files that each process may open.", soft)
        if alive:
            yield GaugeMetricFamily(
                "process_resident_memory_bytes",
                "Memory of all processes. Pages that they share are counted for each.",
                sum(each.resident for each in alive),
            )
            yield GaugeMetricFamily(
                "process_virtual_memory_bytes",
                "Address space of all processes.",
                sum(each.virtual for each in alive),
            )
            yield GaugeMetricFamily(
                "process_open_fds", "Open files of the process that has most.", max(each.files for each in alive)
            )
        yield GaugeMetricFamily("ociserver_processes", "Processes of the server that run.", len(alive) or 1)


def _read(pid: int, parent: int) -> _Process | None:
    """What Linux says about a process; None if it is not there, or neither the parent nor a child of it."""
    try:
        # The name, in parentheses, may contain anything.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        files = len(os.listdir(_PROC / str(pid) / "fd"))
    except OSError:
        return None
    if pid != parent and int(fields[1]) != parent:
        return None
    cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS
    return _Process(cpu_s, int(fields[20]), int(fields[21]) * _PAGE, files)
