"""Building the library that is preloaded into servers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.support.tools import cannot_run

_SOURCE = Path(__file__).with_name("recorder.c")


def library(folder: Path) -> Path:
    """The library, built into a folder; without a compiler the test is skipped, and in CI it fails."""
    compiler = shutil.which("cc")
    if compiler is None:
        cannot_run("no C compiler (cc), so nothing can be recorded")
    path = folder / "recorder.so"
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *options, "-o", path, _SOURCE, "-ldl", "-lpthread"], check=True)
    return path
