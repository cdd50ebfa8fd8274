"""Over each of our backends: ociserver.testing.contract.reading."""

from __future__ import annotations

from ociserver.testing.contract.reading import Reading


class TestReading(Reading):
    """Each fixture is in `conftest`."""
