"""Runs the container image without a container engine: its root is read-only, and its server the first process.

buildah mounts the image, and `unshare` and `chroot` start what it says, as the user that it says. That needs root.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.leaks import watched
from tests.support.tools import require_tool

STOP_S: Final = 40.0
"""Longer than requests may take to finish."""

_START: Final = """
set -e
root=$1 data=$2 user=$3; shift 3
mount --make-rprivate /
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount --bind "$data" "$root/var/lib/registry"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
exec setpriv --no-new-privs chroot --userspec "$user" --groups "" "$root" /usr/bin/env --ignore-environment "$@"
"""


def buildah(*arguments: str) -> str:
    """What buildah prints."""
    command = [str(require_tool("buildah")), *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120, check=True).stdout.strip()


@dataclass(frozen=True, slots=True)
class Image:
    """An image that is mounted.

    Args:
        root: its files.
        config: what it says about its process, with the health check of Docker.
    """

    root: Path
    config: dict[str, Any]

    def command(self, data: Path, variables: Mapping[str, str], program: list[str]) -> list[str]:
        """A command of this machine that runs one in the image."""
        environment = dict(each.split("=", 1) for each in self.config["Env"]) | dict(variables)
        return [
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", _START, "start"),
            *(str(self.root), str(data), self.config["User"]),
            *(f"{name}={value}" for name, value in environment.items()),
            *program,
        ]

    def run(self, data: Path, variables: Mapping[str, str], *program: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the image, until it ends."""
        command = self.command(data, variables, list(program))
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    def is_healthy(self, data: Path, variables: Mapping[str, str]) -> bool:
        """What the health check of the image says, in the same network."""
        how, *program = self.config["Healthcheck"]["Test"]
        assert how == "CMD", "without a shell"
        return self.run(data, variables, *program).returncode == 0

    @contextmanager
    def serving(self, data: Path, variables: Mapping[str, str], log: Path) -> Iterator[None]:
        """Run what the image runs by default. At the end, SIGTERM must end it with status 0."""
        command = self.command(data, variables, [*self.config["Entrypoint"], *self.config["Cmd"]])
        with log.open("ab") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        try:
            with watched(log, environment=variables):
                yield
            (server,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(server), signal.SIGTERM)
            assert process.wait(STOP_S) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()


@contextmanager
def mounted(name: str) -> Iterator[Image]:
    """Mount an image."""
    container = buildah("from", "--pull-never", name)
    try:
        docker = json.loads(buildah("inspect", container))["Docker"]["config"]
        yield Image(Path(buildah("mount", container)), docker)
    finally:
        buildah("rm", container)
