"""`ociserver collect` beside a running server, with no mercy: whatever nothing needs at this moment goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

__all__ = ["collect"]

_AT_ONCE: Final = ("--unreferenced-after", "0s", "--grace", "0s", "--delete-untagged-after", "0s")


def collect(data: Path) -> None:
    """Collect a store's folder; a collection that fails, fails the test."""
    command = [sys.executable, "-m", "ociserver", "collect", "--data", str(data), *_AT_ONCE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
