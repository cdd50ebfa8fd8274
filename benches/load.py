"""The result of a load generator."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final

from ociserver.bench import server_cpu

CONNECTIONS: Final = 32
"""Number of persistent connections, each with one request at a time."""


@dataclass(frozen=True, slots=True)
class Load:
    """The number of requests, their duration, and the processor time of the server."""

    requests: int
    seconds: float
    p50_us: float
    p99_us: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    @property
    def cpu_us(self) -> float:
        """Processor time of the server in microseconds per request. On a busy machine it is steadier than the rate."""
        return self.cpu_seconds / self.requests * 1e6


def cpu_seconds(pid: int | None) -> float:
    """Return the processor time of a process in seconds, as the scheduler counts it (Linux; 0 elsewhere)."""
    return 0.0 if pid is None or sys.platform != "linux" else server_cpu.cpu_seconds(pid)
