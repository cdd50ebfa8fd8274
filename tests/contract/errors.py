"""The names of `ociserver.testing.contract.errors`, for all tests."""

from ociserver.testing.contract.errors import *  # noqa: F403 - the names are those of its `__all__`
