"""The exit status of commands, as docs/cli.md says.

`test_check` has 3 and 4, and tests/serve/test_shutdown.py those of a server that stops.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.process import clean_environment

RULES = "[auth]\nrules = [{ anonymous = true, repositories = ['*'], allow = ['pull'] }]\n"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "right.toml").write_text(RULES)
    (folder / "wrong.toml").write_text("[server]\nport = true\n")
    return subprocess.run(
        [sys.executable, "-m", "ociserver", *arguments],
        cwd=folder,
        env=clean_environment({"HOME": str(folder)}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "command, status",
    [
        ("config check right.toml", 0),
        ("auth explain - pull any --config right.toml", 0),
        # Not done.
        ("collect --data none", 1),
        ("check --data none", 1),
        ("auth explain - push any --config right.toml", 1),
        ("health http://127.0.0.1:9", 1),
        ("ls 127.0.0.1:9", 1),
        ("copy 127.0.0.1:9/a 127.0.0.1:9/b", 1),
        ("serve --data right.toml/data", 1),
        # A mistake.
        ("none", 2),
        ("serve --none", 2),
        ("serve --config wrong.toml", 2),
        ("config check wrong.toml", 2),
        ("config check --json wrong.toml", 2),
        ("manifest NAME", 2),
    ],
)
def test_the_exit_status(command: str, status: int, tmp_path: Path) -> None:
    done = run(tmp_path, *command.split())
    assert done.returncode == status, done
    if status and "explain" not in command and "--json" not in command:
        assert done.stderr


def _as_in_a_terminal() -> None:
    """A shell lets its background jobs ignore Ctrl-C, and so all processes that they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_command_that_is_interrupted_has_status_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        command = [sys.executable, "-m", "ociserver", "health", "--timeout", "60s", url]
        with subprocess.Popen(
            command, env=clean_environment(None), stderr=subprocess.PIPE, text=True, preexec_fn=_as_in_a_terminal
        ) as process:
            silent.settimeout(60)
            connection, _ = silent.accept()
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
            connection.close()
    assert (process.returncode, said.strip()) == (1, "Aborted!")
