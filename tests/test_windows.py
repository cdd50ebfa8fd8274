"""What a system without the functions of Unix gets: one message that says so."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT_UNIX = """
import sys
# As Python on Windows, which has none of them.
for name in ("fcntl", "grp", "pwd", "resource", "termios", "uvloop"):
    sys.modules[name] = None
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("module", ["ociserver", "ociserver.client", "ociserver.cli", "ociserver.memory"])
def test_an_import_says_that_it_needs_unix(module: str) -> None:
    done = run(f"{WITHOUT_UNIX}import {module}")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last == ("ImportError: ociserver needs Linux or macOS. On Windows, run it in WSL or in a container.")


def test_an_import_warns_of_nothing() -> None:
    done = run("import ociserver")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
