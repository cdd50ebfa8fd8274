"""The `ociserver` command, but SQLite's log is copied back every few commits, and not every 16 MiB."""

from __future__ import annotations

from ociserver.cli import main
from ociserver.store import sqlite

if __name__ == "__main__":
    sqlite.WAL_PAGES = 50  # type: ignore[misc]
    main()
