"""Clients sign in with the token of a job as their password, and at a token server of another program."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest

from ociserver.auth.scopes import access_of, parse_scopes
from tests.auth.provider import new_key, public_jwk, signed
from tests.clients.signed_in_tools import TOOLS, Tool
from tests.support.server import Server, serve

NAMES: Final = ("skopeo", "crane", "oras", "regctl", "containerd")
AUDIENCE: Final = "registry.example"
ISSUER: Final = "https://issuer.example"
KEY: Final = new_key("RSA")
PASSWORD: Final = "a password of the token server"
OIDC: Final = f"""
[auth.oidc.ci]
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
jwks = "keys.json"
require = {{ org = "org" }}

[[auth.rules]]
users = ["ci:job"]
repositories = ["team/*"]
allow = ["pull", "push", "delete"]
"""


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": ISSUER, "aud": AUDIENCE, "sub": "job", "iat": now, "nbf": now, "exp": now + 3600, **changes}


def token(**changes: Any) -> str:
    return signed(KEY, claims(**changes), header={"kid": "one"})


@contextmanager
def served(folder: Path, auth: str) -> Iterator[Server]:
    (folder / "keys.json").write_text(json.dumps({"keys": [public_jwk(KEY, kid="one")]}))
    config = folder / "registry.toml"
    config.write_text(f'registry = {{ kind = "store", data = "{folder}/data" }}\n{auth}')
    with serve(["--config", str(config)], folder) as server:
        yield server


class Tokens(BaseHTTPRequestHandler):
    """Gives alice every right that she asks for, and others the right to pull what is public."""

    def do_GET(self) -> None:
        self._answer(parse_qs(urlsplit(self.path).query))

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(parse_qs(content.decode()))

    def _answer(self, fields: dict[str, list[str]]) -> None:
        basic = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode()
        form = ":".join(fields.get(name, [""])[0] for name in ("username", "password"))
        given = next((each for each in (basic, form) if each.strip(":")), "")
        if given not in ("", f"alice:{PASSWORD}"):
            self.send_error(401)
            return
        asked = parse_scopes(fields.get("scope", []))
        granted = (
            asked if given else {name: {"pull"} & set(asked[name]) for name in asked if name.startswith("public/")}
        )
        access = access_of({name: frozenset(actions) for name, actions in granted.items()})
        text = token(sub=given.partition(":")[0], access=access)
        content = json.dumps({"token": text, "access_token": text, "expires_in": 300}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def realm() -> Iterator[str]:
    """The URL of a token server that runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Tokens)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/token"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A registry that accepts the tokens of jobs."""
    with served(tmp_path_factory.mktemp("jobs"), OIDC) as server:
        yield server


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory, realm: str) -> Iterator[Server]:
    """A registry behind the token server."""
    server = (
        f'[auth.token-server]\nrealm = "{realm}"\nservice = "{AUDIENCE}"\nissuer = "{ISSUER}"\njwks = "keys.json"\n'
    )
    with served(tmp_path_factory.mktemp("checked"), server) as registry:
        yield registry


class Run:
    """One client, and what it does as one user."""

    def __init__(self, tool: Tool, folder: Path, server: Server, who: tuple[str, str] | None) -> None:
        self._tool = tool
        self._folder = folder
        self._address = server.address
        self._client = tool.client(folder / "home", server.address, who)

    def push(self, image: str, *, is_refused: bool = False) -> None:
        layout = self._tool.content.write(self._folder / "layout")
        file = layout / "blobs" / "sha256" / next(reversed(self._tool.content.blobs)).partition(":")[2]
        self._do("push", is_refused, image=f"{self._address}/{image}", layout=layout, file=file)

    def pull(self, image: str, *, is_refused: bool = False) -> None:
        out = self._folder / "out"
        out.mkdir(exist_ok=True)
        self._do("pull", is_refused, image=f"{self._address}/{image}", out=out)
        assert self._tool.pulled(out) is not is_refused

    def login(self, user: str, password: str, *, is_refused: bool = False) -> None:
        words = self._tool.words("login", user=user, address=self._address)
        (self._client.refused if is_refused else self._client.run)(*words, stdin=password.encode())

    def _do(self, operation: str, is_refused: bool, **values: object) -> None:  # noqa: FBT001
        words = self._tool.words(operation, **values)
        (self._client.refused if is_refused else self._client.run)(*words)


@pytest.mark.parametrize("name", NAMES)
def test_a_job(name: str, jobs: Server, tmp_path: Path) -> None:
    tool = TOOLS[name]
    image = f"team/{name}/example:{tool.content.tag}"
    job = Run(tool, tmp_path, jobs, ("ci", token(org="org")))
    job.push(image)
    job.pull(image)


@pytest.mark.parametrize("name", NAMES)
def test_a_job_of_somebody_else(name: str, jobs: Server, tmp_path: Path) -> None:
    tool = TOOLS[name]
    image = f"team/{name}-refused/example:{tool.content.tag}"
    Run(tool, tmp_path, jobs, ("ci", token(org="other"))).push(image, is_refused=True)
    Run(tool, tmp_path, jobs, ("ci", token(org="org", aud="other"))).push(image, is_refused=True)
    Run(tool, tmp_path, jobs, None).pull(image, is_refused=True)


@pytest.mark.parametrize("name", ["skopeo", "oras", "regctl"])
def test_the_login_of_a_job(name: str, jobs: Server, tmp_path: Path) -> None:
    client = Run(TOOLS[name], tmp_path, jobs, None)
    client.login("ci", token(org="org"))
    client.login("ci", token(org="other"), is_refused=True)


# crane refuses a realm with a private address, unless it is that of the registry.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "crane"])
def test_a_token_server(name: str, checked: Server, tmp_path: Path) -> None:
    tool = TOOLS[name]
    alice = Run(tool, tmp_path, checked, ("alice", PASSWORD))
    for kind in ("team", "public"):
        alice.push(f"{kind}/{name}/example:{tool.content.tag}")
    alice.pull(f"team/{name}/example:{tool.content.tag}")
    (tmp_path / "nobody").mkdir()
    nobody = Run(tool, tmp_path / "nobody", checked, None)
    nobody.pull(f"team/{name}/example:{tool.content.tag}", is_refused=True)
    nobody.push(f"public/{name}-new/example:{tool.content.tag}", is_refused=True)
    nobody.pull(f"public/{name}/example:{tool.content.tag}")
