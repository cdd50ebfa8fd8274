"""A server without a store: its configuration file names another registry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.server import Server, serve

__all__ = ["relay"]


@contextmanager
def relay(upstream: str, folder: Path, *, options: str = "") -> Iterator[Server]:
    """Serve the registry at `upstream` until the block ends. `options` are lines for the table [options]."""
    config = folder / "registry.toml"
    config.write_text(f'[options]\n{options}\n[registry]\nkind = "client"\nurl = "{upstream}"\n')
    with serve(["--config", str(config)], folder) as server:
        yield server
