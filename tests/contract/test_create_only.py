"""Over each of our backends: ociserver.testing.contract.create_only."""

from __future__ import annotations

from ociserver.testing.contract.create_only import CreateOnly


class TestCreateOnly(CreateOnly):
    """Each fixture is in `conftest`."""
