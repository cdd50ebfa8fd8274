"""Over each of our backends: ociserver.testing.contract.immutable_tags."""

from __future__ import annotations

from ociserver.testing.contract.immutable_tags import ImmutableTags


class TestImmutableTags(ImmutableTags):
    """Each fixture is in `conftest`."""
