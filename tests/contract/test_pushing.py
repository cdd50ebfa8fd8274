"""Over each of our backends: ociserver.testing.contract.pushing."""

from __future__ import annotations

from ociserver.testing.contract.pushing import Pushing


class TestPushing(Pushing):
    """Each fixture is in `conftest`."""
