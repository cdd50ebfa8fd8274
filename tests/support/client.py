"""A command-line client, with its own home folder."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT_S = 100.0


@dataclass(frozen=True, slots=True)
class Client:
    """A program, with the environment and the options of every call."""

    program: Path
    environment: Mapping[str, str]
    options: tuple[str, ...] = ()

    def run(self, *arguments: str | Path, stdin: bytes = b"") -> str:
        """Run the program and return its stdout. If it fails, the test fails and shows its output."""
        done = self._run(arguments, stdin)
        assert done.returncode == 0, f"{self._words(arguments)}: exit {done.returncode}\n{_text(done)}"
        return done.stdout.decode()

    def json(self, *arguments: str | Path) -> Any:
        return json.loads(self.run(*arguments))

    def log(self, *arguments: str | Path) -> str:
        """Run the program and return its stderr. With a debug option, that lists the requests that it made."""
        done = self._run(arguments, b"")
        assert done.returncode == 0, f"{self._words(arguments)}: exit {done.returncode}\n{_text(done)}"
        return done.stderr.decode()

    def refused(self, *arguments: str | Path, stdin: bytes = b"") -> str:
        """Run the program, which must fail. Returns its stdout and stderr."""
        done = self._run(arguments, stdin)
        assert done.returncode != 0, f"{self._words(arguments)}: succeeded\n{_text(done)}"
        return _text(done)

    def _run(self, arguments: tuple[str | Path, ...], stdin: bytes) -> subprocess.CompletedProcess[bytes]:
        command = [self.program, *self.options, *arguments]
        return subprocess.run(
            command, env=dict(self.environment), input=stdin, capture_output=True, timeout=TIMEOUT_S, check=False
        )

    def _words(self, arguments: tuple[str | Path, ...]) -> str:
        return " ".join(map(str, (self.program.name, *self.options, *arguments)))


def _text(done: subprocess.CompletedProcess[bytes]) -> str:
    return (done.stdout + done.stderr).decode(errors="replace")
