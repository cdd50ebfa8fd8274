"""Failures that end the server with a message for the person who started it."""

from __future__ import annotations

from typing import Final

__all__ = ["GRANIAN", "CannotServeError", "UnusableGranianError"]

GRANIAN: Final = "granian>=2.8,<2.9"
"""The versions of granian whose internals `ociserver.serve.granian` knows; pyproject.toml requires the same."""


class CannotServeError(Exception):
    """What was asked for cannot be served. The message says what happened, where, and what to do."""


class UnusableGranianError(CannotServeError):
    """The installed version of granian has other internals than those that the server relies on.

    Args:
        problem: what is different, in words.
    """

    def __init__(self, problem: str) -> None:
        from importlib.metadata import version  # late: it takes longer than a health check

        super().__init__(
            f"granian {version('granian')} cannot be used: {problem}. ociserver works with {GRANIAN}. Install such a "
            f"version: pip install '{GRANIAN}'"
        )
