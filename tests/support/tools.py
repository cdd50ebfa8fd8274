"""Finds programs that `tests/tools/install` has installed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def require_tool(name: str) -> Path:
    """Find a program. If it is missing, the test is skipped; with CI=true it fails.

    Otherwise a run in CI without any client would count as passed.
    """
    found = shutil.which(name, path=f"{ROOT / '.tools' / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
    if found:
        return Path(found)
    reason = f"no {name}: `make tools` gets it, or says what it lacks for that"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
