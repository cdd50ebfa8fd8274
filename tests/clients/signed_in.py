"""What docs/auth.md lets each user do, and a trial of one client."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.auth.registry import PASSWORDS, basic
from tests.clients.contents import Content
from tests.clients.signed_in_tools import TOOLS, Tool
from tests.support.client import Client
from tests.support.http import Answer, send, with_query
from tests.support.images import MANIFEST
from tests.support.server import Server
from tests.support.signed_in import FORGETFUL, docker_config
from tests.support.tap import Exchange, Tap

__all__ = ["OUTCOMES", "WHO", "Trial", "cells", "digest", "exists", "ociserver", "push"]

WHO: Final = {
    "nobody": None,
    "wrong": (FORGETFUL, "not the password"),
    "alice": ("alice", PASSWORDS["alice"]),
    "bob": ("bob", PASSWORDS["bob"]),
    "mallory": ("mallory", PASSWORDS["mallory"]),
    "ci-1": ("ci-1", PASSWORDS["ci-1"]),
}
"""Users and passwords. Their rights are in `tests.auth.registry`."""

# docs/auth.md, "What clients are told": 401 to a client that has not signed in, and 403 to one that has. A wrong
# password is never taken for no password, but not all clients send it where nobody asks for it: see `expected`.
OUTCOMES: Final = {
    #           login    pull public  pull private  push     mount    delete
    "nobody":  (None,    "works",     401,          401,     401,     401),
    "wrong":   (401,     401,         401,          401,     401,     401),
    "alice":   ("works", "works",     "works",      "works", "works", "works"),
    "bob":     ("works", "works",     "works",      403,     403,     403),
    "mallory": ("works", "works",     403,          403,     403,     403),
}  # fmt: skip
"""For each user and operation: it works, or the status of the answer that ends it. None: there is no such case."""

_OPERATIONS: Final = ("login", "pull public", "pull private", "push", "mount", "delete")


def cells(operation: str) -> list[Any]:
    """The cells of one column of the table, for each client that has the operation: client, user and outcome."""
    column = _OPERATIONS.index(operation)
    name = {"mount": "copy"}.get(operation, operation.partition(" ")[0])
    return [
        pytest.param(tool, who, expected(tool, who, operation, outcomes[column]), id=f"{tool_name}-{who}")
        for tool_name, tool in TOOLS.items()
        for who, outcomes in OUTCOMES.items()
        if outcomes[column] is not None and getattr(tool, name)
    ]


def expected(tool: Tool, who: str, operation: str, outcome: object) -> object:
    """The outcome of the table, as far as a client sends its wrong password at all."""
    keeps_password = operation == "pull public" and not tool.pings
    stores_only = operation == "login" and not tool.checks_login
    return "works" if who == "wrong" and (keeps_password or stores_only) else outcome


@dataclass(frozen=True, slots=True)
class Trial:
    """One client in front of one server, and what passes between them.

    `address` is that of another relay in front of the one that records; "" if there is none.
    """

    tool: Tool
    tap: Tap
    folder: Path
    address: str = ""

    @property
    def registry(self) -> str:
        return self.address or self.tap.address

    def image(self, repository: str) -> str:
        return f"{self.registry}/{repository}:{self.tool.content.tag}"

    def run(self, who: str, operation: str, outcome: object, **values: object) -> list[Exchange]:
        """Run an operation as a user, which must have this outcome. Returns its requests."""
        layout = self.tool.content.write(self.folder / "layout")
        archive = layout / "blobs" / "sha256" / [*self.tool.content.blobs][-1].partition(":")[2]
        out = self.folder / "out"
        out.mkdir(exist_ok=True)
        client = self.tool.client(self.folder / "home", self.registry, WHO[who])
        before = len(self.tap.exchanges())
        words = self.tool.words(operation, layout=layout, file=archive, out=out, **values)
        told = client.run(*words) if outcome == "works" else client.refused(*words)
        exchanges = self.tap.exchanges()[before:]
        answered = [(each.method, each.target, each.status) for each in exchanges]
        statuses = {each.status for each in exchanges}
        # Otherwise it was refused for another reason than its rights. Every client is asked to sign in (401) first.
        assert outcome == "works" or outcome in statuses, (answered, told)
        assert outcome == 403 or 403 not in statuses, answered
        # A push by regctl tries a wrong password more than ten times.
        assert who == "wrong" or 429 not in statuses, answered
        return exchanges


def ociserver(address: str, who: str, home: Path) -> Client:
    """The `ociserver` command, for someone who has signed in to a registry as a user, or as nobody."""
    (home / "config.json").write_text(docker_config(address, WHO[who]))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OCISERVER_")}
    return Client(Path(sys.executable), {**kept, "HOME": str(home), "DOCKER_CONFIG": str(home)}, ("-m", "ociserver"))


def push(server: Server, repository: str, content: Content) -> None:
    """Push as alice, without a client."""
    alice = basic("alice")
    for name, blob in content.blobs.items():
        begun = send(server, "POST", f"/v2/{repository}/blobs/uploads/", headers=alice)
        _created(send(server, "PUT", with_query(begun.headers["Location"], f"digest={name}"), blob, alice))
    target = f"/v2/{repository}/manifests/{content.tag}"
    _created(send(server, "PUT", target, content.manifest, {"Content-Type": MANIFEST, **alice}))


def digest(server: Server, repository: str, tag: str) -> str | None:
    """The digest of a tag, without a client."""
    answer = send(server, "HEAD", f"/v2/{repository}/manifests/{tag}", headers=basic("alice"))
    assert answer.status in {200, 404}
    return answer.headers["Docker-Content-Digest"]


def exists(server: Server, repository: str, tag: str) -> bool:
    """Whether a tag exists, without a client."""
    return digest(server, repository, tag) is not None


def _created(answer: Answer) -> None:
    assert answer.status == 201, answer
