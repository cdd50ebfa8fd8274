"""All attempts, in the order of the table."""

from __future__ import annotations

from tests.hostile import framing, headers, manifests, methods, paths, queries
from tests.hostile.attempt import Attempt

ATTEMPTS: list[Attempt] = [
    attempt for module in (paths, queries, methods, headers, manifests, framing) for attempt in module.attempts()
]
