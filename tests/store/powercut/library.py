"""Building the library that is preloaded into servers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_name("recorder.c")


def library(folder: Path) -> Path:
    """The library, built into a folder; without a compiler the test is skipped, and in CI it fails."""
    compiler = shutil.which("cc")
    if compiler is None:
        reason = "no C compiler (cc), so nothing can be recorded"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    path = folder / "recorder.so"
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *options, "-o", path, _SOURCE, "-ldl", "-lpthread"], check=True)
    return path
