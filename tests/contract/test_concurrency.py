"""Over each of our backends: ociserver.testing.contract.concurrency."""

from __future__ import annotations

from ociserver.testing.contract.concurrency import Concurrency


class TestConcurrency(Concurrency):
    """Each fixture is in `conftest`."""
