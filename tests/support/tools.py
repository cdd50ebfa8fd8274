"""Finds programs that `tests/tools/install` has installed, and ends tests that a machine cannot run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]


def require_tool(name: str) -> Path:
    """Find a program. If it is missing, see `cannot_run`."""
    found = shutil.which(name, path=f"{ROOT / '.tools' / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
    if not found:
        cannot_run(f"no {name}: `make tools` gets it, or says what it lacks for that")
    return Path(found)


def cannot_run(reason: str) -> NoReturn:
    """Skip a test that this machine cannot run. In CI (the variable `CI`) it fails.

    Otherwise a run in CI that lacks everything would count as passed.
    """
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
