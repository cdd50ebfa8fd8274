"""The internals of granian that the server relies on exist, and a version without them is refused."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from granian import _futures, net
from granian.server.embed import Server

from ociserver.serve.errors import GRANIAN, UnusableGranianError
from ociserver.serve.granian import check
from tests.cli.process import clean_environment

PROJECT: Final = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())

Patch = pytest.MonkeyPatch


def other_holder(patch: Patch) -> None:
    """A socket holder that binds an address itself, instead of using a descriptor."""
    patch.setattr(net, "SocketHolder", SimpleNamespace)


def other_startup(patch: Patch) -> None:
    patch.setattr(Server, "startup", lambda _self: None)


def other_coroutine(patch: Patch) -> None:
    def wrapper(inner: Any) -> Any:
        async def request(watcher: Any) -> None:
            await inner(watcher.scope, watcher.proto)

        return request

    patch.setattr(_futures, "_future_watcher_wrapper", wrapper)


def other_handover(patch: Patch) -> None:
    def schedule(loop: Any, context: Any, make: Any) -> Any:
        return lambda watcher: loop.call_soon_threadsafe(watcher.run, make(watcher), context=context)

    patch.setattr(_futures, "_cbsched_aioschedule", schedule)


OTHERS: Final[dict[Callable[[Patch], None], str]] = {
    lambda patch: patch.delattr(net, "SocketHolder"): "granian.net.SocketHolder",
    other_holder: "granian.net.SocketHolder",
    other_startup: "Server._init_shared_socket",
    lambda patch: patch.delattr(Server, "_spawn_worker"): "Server._init_shared_socket",
    other_coroutine: "_future_watcher_wrapper",
    lambda patch: patch.delattr(_futures, "_future_watcher_wrapper"): "_future_watcher_wrapper",
    other_handover: "_cbsched_aioschedule",
    lambda patch: patch.delattr(_futures, "_cbsched_aioschedule"): "_cbsched_aioschedule",
}


def test_the_installed_version_has_all_parts() -> None:
    check()


@pytest.mark.parametrize("change", OTHERS)
def test_a_version_with_other_internals_is_refused(change: Callable[[Patch], None], monkeypatch: Patch) -> None:
    change(monkeypatch)
    with pytest.raises(UnusableGranianError) as caught:
        check()
    message = str(caught.value)
    assert message.startswith(f"granian {version('granian')} cannot be used: ")
    assert f"{OTHERS[change]}" in message
    assert message.endswith(f"is missing or has changed. ociserver works with {GRANIAN}. {INSTALL}")


INSTALL: Final = f"Install such a version: pip install '{GRANIAN}'"


@pytest.mark.parametrize(
    "change, problem",
    [
        ("del granian.net.SocketHolder", "granian.net.SocketHolder is missing or has changed"),
        ("del granian.server.embed.Server", "cannot import name 'Server' from 'granian.server.embed'"),
    ],
)
def test_the_command_says_which_versions_work(change: str, problem: str) -> None:
    program = f"import granian.net, granian.server.embed\n{change}\nfrom ociserver.cli import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", program, "serve", "--memory", "--port", "0"],
        env=clean_environment(None),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"ociserver: granian {version('granian')} cannot be used: {problem}")
    assert done.stderr.endswith(f"{INSTALL}\n")


def test_the_package_requires_the_tested_versions() -> None:
    assert GRANIAN in PROJECT["project"]["dependencies"]
    bounds = re.fullmatch(r"granian>=(\d+)\.(\d+),<(\d+)\.(\d+)", GRANIAN)
    assert bounds
    major, minor, end_major, end_minor = map(int, bounds.groups())
    assert (end_major, end_minor) == (major, minor + 1), "one minor version"
    # This is the version that the tests use.
    assert version("granian").startswith(f"{major}.{minor}.")
    assert f"granian=={version('granian')}" in PROJECT["dependency-groups"]["dev"]
