"""Runs `ociserver collect` beside a server, without any grace period: what is not needed now is deleted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

__all__ = ["collect"]

_AT_ONCE: Final = ("--unreferenced-after", "0s", "--grace", "0s", "--delete-untagged-after", "0s")


def collect(data: Path) -> None:
    """Collect the store in this folder. The test fails if the collection fails."""
    command = [sys.executable, "-m", "ociserver", "collect", "--data", str(data), *_AT_ONCE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
