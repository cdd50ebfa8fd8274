"""Runs the clients that the tests of profiles and faults need."""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ociserver.testing import Registry
from tests.support.tools import require_tool

__all__ = ["Clients", "Result"]

TIMEOUT_S: Final = 60


@dataclass(frozen=True, slots=True)
class Result:
    """What a client printed, and whether it succeeded."""

    succeeded: bool
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[str]:
        return self.stdout.split()


@dataclass(frozen=True, slots=True)
class Clients:
    """Real clients, with the credentials of a registry and without anything else of the user's.

    Args:
        registry: to sign in to.
        home: a folder for their configuration.
    """

    registry: Registry
    home: Path

    def sign_in(self) -> None:
        """Write the credentials where crane, oras and skopeo look for them."""
        assert self.registry.credentials
        user, password = self.registry.credentials
        encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
        folder = self.home / ".docker"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"auths": {self.registry.host: {"auth": encoded}}}))

    def crane(self, *arguments: str | Path) -> Result:
        return self._run("crane", *arguments, "--insecure")

    def oras(self, *arguments: str | Path) -> Result:
        return self._run("oras", *arguments)

    def skopeo(self, *arguments: str | Path) -> Result:
        return self._run("skopeo", *arguments)

    def regctl(self, *arguments: str | Path) -> Result:
        # It takes HTTP for the host from its configuration only.
        folder = self.home / ".regctl"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"hosts": {self.registry.host: {"tls": "disabled"}}}))
        return self._run("regctl", *arguments, REGCTL_CONFIG=str(folder / "config.json"))

    def _run(self, program: str, *arguments: str | Path, **environment: str) -> Result:
        done = subprocess.run(
            [require_tool(program), *map(str, arguments)],
            env={"HOME": str(self.home), "DOCKER_CONFIG": str(self.home / ".docker"), **environment},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return Result(done.returncode == 0, done.stdout, done.stderr)
