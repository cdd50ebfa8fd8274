"""Over each of our backends: ociserver.testing.contract.interruptions."""

from __future__ import annotations

from ociserver.testing.contract.interruptions import Interruptions


class TestInterruptions(Interruptions):
    """Each fixture is in `conftest`."""
