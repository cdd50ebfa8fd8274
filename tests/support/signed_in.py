"""`ociserver serve` with the users and rules of `tests.auth.registry`."""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.auth.registry import PASSWORDS, TOML, htpasswd
from tests.support.leaks import remember
from tests.support.server import Server, serve
from tests.support.servers import TWO_NODES

__all__ = ["FORGETFUL", "docker_config", "reload", "signed_in_nodes", "signed_in_server", "write_config"]

FORGETFUL: Final = "ci-2"
"""A user with the rights of ci-1 and wrong passwords. Too many of these lock a user out for a while."""

RELOAD_TIMEOUT_S: Final = 20.0

_KEY: Final = "token.key"
_FIRST_KEY: Final = "the first key of these tests, of 32 bytes and more"


@contextmanager
def signed_in_server(folder: Path, *arguments: str) -> Iterator[Server]:
    """Serve a store in `folder` until the block ends. `FORGETFUL` is one more user."""
    _write_users(folder)
    write_config(folder)
    with serve(["--config", str(folder / "registry.toml"), *arguments], folder) as server:
        yield server


@contextmanager
def signed_in_nodes(folder: Path) -> Iterator[Server]:
    """Serve with two nodes until the block ends. They have the same users and the same key for tokens."""
    _write_users(folder)
    with TWO_NODES.start(folder, more=_auth(folder, _FIRST_KEY)) as server:
        yield server


def write_config(folder: Path, key: str = _FIRST_KEY) -> None:
    """Write the configuration of the server, with one key for tokens."""
    registry = f'registry = {{ kind = "store", data = "{folder}/data" }}\n'
    (folder / "registry.toml").write_text(registry + _auth(folder, key))


def reload(server: Server) -> None:
    """Let all nodes read their configuration again, and wait until they have. Limits on wrong passwords begin anew."""
    before = {node: _reloads(node) for node in server.nodes}
    for node in before:
        os.kill(node.pid, signal.SIGHUP)
    deadline = time.monotonic() + RELOAD_TIMEOUT_S
    while any(_reloads(node) == reloads for node, reloads in before.items()):
        assert time.monotonic() < deadline, f"the server did not reload:\n{server.log_tail()}"
        time.sleep(0.01)


def docker_config(address: str, who: tuple[str, str] | None) -> str:
    """The text of a file as `docker login` writes it, for a user and a password; None: nobody has signed in."""
    if who is not None:
        remember(who[1])
    auths = {} if who is None else {address: {"auth": base64.b64encode(":".join(who).encode()).decode()}}
    return json.dumps({"auths": auths})


def _write_users(folder: Path) -> None:
    htpasswd(folder, PASSWORDS | {FORGETFUL: "forgotten"})


def _auth(folder: Path, key: str) -> str:
    """Tables of a configuration file, also of one in another folder. Writes the key for tokens."""
    remember(key)
    (folder / _KEY).write_text(key)
    users = TOML.replace('"users.htpasswd"', f'"{folder}/users.htpasswd"')
    return f'[auth]\ntoken-keys = [{{ file = "{folder}/{_KEY}" }}]\n{users}'


def _reloads(server: Server) -> int:
    return server.log.read_bytes().count(b"the configuration was reloaded")
