"""The faults that a test has asked for, and which of them were met."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ociserver.testing.faults import ExpiredToken, Fault, NoRanges

if TYPE_CHECKING:
    from collections.abc import Collection

    from ociserver.testing.patterns import RequestPattern
    from ociserver.testing.requests import Request

__all__ = ["Plan", "PlannedFault"]


@dataclass(slots=True)
class PlannedFault:
    """A fault that requests are to meet.

    Args:
        fault: what goes wrong.
        pattern: for which requests.
        times: how many of them; None: all.
        skip: how many are answered as usual before.
        met: how many have met it.
    """

    fault: Fault
    pattern: RequestPattern
    times: int | None = 1
    skip: int = 0
    met: int = 0

    @property
    def is_due(self) -> bool:
        """Whether further requests meet it."""
        return self.times is None or self.met < self.times

    @property
    def is_used(self) -> bool:
        """Whether it was met as often as it should be; without a limit, at least once."""
        return self.met >= (self.times or 1)

    def __str__(self) -> str:
        wanted = "at least once" if self.times is None else f"{self.times} time{'s' * (self.times != 1)}"
        return f"{self.fault} for {self.pattern}: to be met {wanted}, met {self.met}"


class Plan:
    """The faults of a registry. Its event loop uses them, and other threads add and read."""

    def __init__(self) -> None:
        self._planned: list[PlannedFault] = []
        self.expired: set[str] = set()
        """The Authorization headers with tokens that have expired."""

    def add(self, planned: PlannedFault) -> None:
        """Add a fault. Of several for one request, the first counts."""
        self._planned.append(planned)

    def clear(self) -> None:
        """Forget all faults."""
        self._planned = []
        self.expired = set()

    def next(self, request: Request) -> PlannedFault | None:
        """The fault that a request meets, which counts as met from now on; see `give_back`."""
        for planned in self._planned:
            if not planned.is_due or not planned.pattern.matches(request) or not _concerns(planned.fault, request):
                continue
            if planned.skip > 0:
                planned.skip -= 1
                continue
            planned.met += 1
            return planned
        return None

    def give_back(self, planned: PlannedFault) -> None:
        """Say that the answer to a request could not show the fault: it has no body, or too short a one."""
        planned.met -= 1

    def check(self, requests: Collection[Request]) -> None:
        """Check that all faults were met.

        Raises:
            AssertionError: some were not. The message has them, and the requests that came.
        """
        unused = [str(planned) for planned in self._planned if not planned.is_used]
        if unused:
            came = [f"  {request}" for request in requests] or ["  none"]
            raise AssertionError("\n".join(["faults that were not met:", *(f"  {line}" for line in unused),
                                            "requests:", *came]))  # fmt: skip


def _concerns(fault: Fault, request: Request) -> bool:
    if fault.needs_body and request.method == "HEAD":
        return False
    if isinstance(fault, NoRanges):
        return "range" in request.headers
    if isinstance(fault, ExpiredToken):
        return request.headers.get("authorization", "").lower().startswith("bearer ")
    return True
