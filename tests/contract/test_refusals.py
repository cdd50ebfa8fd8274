"""Over each of our backends: ociserver.testing.contract.refusals."""

from __future__ import annotations

from ociserver.testing.contract.refusals import Refusals


class TestRefusals(Refusals):
    """Each fixture is in `conftest`."""
