"""Folders for registries that live for one test: in memory where the system has such a place.

The store syncs what it acknowledges. On a disk that others use too, a thousand tests would wait minutes for that,
and none of these could tell the difference: what a crash leaves behind is tested in `tests.store`.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

_IN_MEMORY: Final = Path("/dev/shm")


def fresh_folder() -> tempfile.TemporaryDirectory[str]:
    """An empty folder, removed with all that is in it at the end of the block, or by `cleanup`."""
    usable = _IN_MEMORY.is_dir() and os.access(_IN_MEMORY, os.W_OK)
    return tempfile.TemporaryDirectory(prefix="ociserver-", dir=_IN_MEMORY if usable else None)
