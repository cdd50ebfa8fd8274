"""What the store needs from the operating system: syncs of folders, and the id of the current boot."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

__all__ = ["BOOT_SIZE", "NO_BOOT", "boot_id", "sync_folder", "sync_folders_above"]

BOOT_SIZE: Final = 16
"""Bytes of the id of a boot."""

NO_BOOT: Final = bytes(BOOT_SIZE)
"""In the place of the id of a boot: a state with this id is never trusted."""


def boot_id() -> bytes:
    """The id of the current boot of the machine; `NO_BOOT` if the system has none."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        return bytes.fromhex(text.strip().replace("-", ""))
    except (OSError, ValueError):
        return NO_BOOT


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folders_above(folder: Path) -> None:
    """Sync a folder and all folders above it on the same disk, because their creator may not have done so."""
    device = folder.stat().st_dev
    for path in (folder, *folder.absolute().parents):
        # This process has not created a folder that it may not read.
        with contextlib.suppress(PermissionError):
            if path.stat().st_dev != device:
                return
            sync_folder(path)
