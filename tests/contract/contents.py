"""The names of `ociserver.testing.contract.contents`, for all tests."""

from ociserver.testing.contract.contents import *  # noqa: F403 - the names are those of its `__all__`
