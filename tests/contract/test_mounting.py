"""Over each of our backends: ociserver.testing.contract.mounting."""

from __future__ import annotations

from ociserver.testing.contract.mounting import Mounting


class TestMounting(Mounting):
    """Each fixture is in `conftest`."""
