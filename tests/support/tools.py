"""Programs that the tests run, as `tests/tools/install` gets them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def require_tool(name: str) -> Path:
    """Find a program, or end the test: skipped for want of it, but failed where CI=true.

    A client that is quietly missing in CI would let "everything passed" mean "nothing was run".
    """
    found = shutil.which(name, path=f"{ROOT / '.tools' / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
    if found:
        return Path(found)
    reason = f"no {name}: `make tools` gets it, or says what it lacks for that"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
