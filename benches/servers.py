"""Runs granian with the same settings for each application."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.serving.granian_process import serve_with_granian
from tests.serving.site import Site

SETTINGS = ("--workers", "1", "--http", "1", "--task-impl", "asyncio", "--log-level", "warning")


@contextmanager
def serve(target: str, loop: str = "asyncio") -> Iterator[Site]:
    """Serve `module:attribute` until the block ends, on granian's default event loop or on another one."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serve_with_granian(target, Path(folder) / "log", *SETTINGS, "--loop", loop) as site,
    ):
        yield site
