"""What the store needs of the operating system about its disk: syncs of folders, and the name of a boot."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

__all__ = ["BOOT_SIZE", "NO_BOOT", "boot_id", "sync_folder", "sync_folders_above"]

BOOT_SIZE: Final = 16
"""Bytes of the name of a boot."""

NO_BOOT: Final = bytes(BOOT_SIZE)
"""In the place of the name of a boot: nothing is trusted that has it."""


def boot_id() -> bytes:
    """Names the time since the machine was started; `NO_BOOT` where the system does not tell."""
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
    """Sync a folder and all folders above it on the same disk, since their maker may not have done so."""
    device = folder.stat().st_dev
    for path in (folder, *folder.absolute().parents):
        # A folder that this process may not read was not made by it.
        with contextlib.suppress(PermissionError):
            if path.stat().st_dev != device:
                return
            sync_folder(path)
