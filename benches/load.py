"""What a load generator measured of a server."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Final

CONNECTIONS: Final = 32
"""Kept connections, each with one request under way at a time."""


@dataclass(frozen=True, slots=True)
class Load:
    """What was asked of a server, and how it fared."""

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
        """Processor time of the server, in microseconds a request: steadier than the rate on a busy machine."""
        return self.cpu_seconds / self.requests * 1e6


def cpu_seconds(pid: int | None) -> float:
    """Processor time that a process has used, by the scheduler's count (Linux; 0 elsewhere)."""
    # The clock of another process (clock_getcpuclockid(3)): it counts threads too that have ended.
    return 0.0 if pid is None or sys.platform != "linux" else time.clock_gettime((~pid << 3) | 2)
