"""`ociserver completion`: in the shells themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.process import clean_environment
from tests.cli.screen import on_screen
from tests.support.tools import require_tool

# `ociserver` must be in PATH, because the scripts call it.
ENVIRONMENT = clean_environment(
    {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}", "PS1": "prompt> "}
)
START = {
    "bash": (["bash", "--norc", "-i"], ""),
    "zsh": (["zsh", "-f", "-i"], "autoload -U compinit && compinit -D -u\n"),
}


@pytest.mark.parametrize("shell", START)
def test_tab_completes_a_command_and_a_value(shell: str, tmp_path: Path) -> None:
    """Only if `completi` and `fi` are completed, the script for fish is printed."""
    command, first = START[shell]
    require_tool(shell)
    with on_screen(command, {**ENVIRONMENT, "HOME": str(tmp_path)}) as screen:
        screen.wait_for("prompt> ")
        screen.type(f'{first}eval "$(ociserver completion {shell})"\n')
        screen.type("ociserver completi\tfi\t| head -n 1\n")
        screen.wait_for(r"[\r\n]function _ociserver_completion;")


def test_fish_completes_commands_flags_and_values(tmp_path: Path) -> None:
    def completed(line: str) -> list[str]:
        script = f"ociserver completion fish | source; complete --do-complete '{line}'"
        command = [str(require_tool("fish")), "--no-config", "-c", script]
        environment = {**ENVIRONMENT, "HOME": str(tmp_path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        return [line.partition("\t")[0] for line in done.stdout.splitlines()]

    assert completed("ociserver coll") == ["collect"]
    assert completed("ociserver config ch") == ["check"]
    assert "--durability" in completed("ociserver serve --du")
    assert completed("ociserver serve --durability n") == ["normal"]


def test_another_shell_is_refused() -> None:
    command = [sys.executable, "-m", "ociserver", "completion", "tcsh"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "'bash', 'zsh', 'fish'" in done.stderr
