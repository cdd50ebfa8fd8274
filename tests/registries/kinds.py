"""The registries, and how each is started. docs/registries.md says what each can do."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Final, Literal

from ociserver.client import Credentials
from tests.registries.token_server import ISSUER, SERVICE, TokenServer
from tests.serving.uvicorn_thread import serve_with_uvicorn
from tests.support.server import free_port
from tests.support.tools import require_tool

__all__ = ["KINDS", "Kind", "Running"]

START_TIMEOUT_S: Final = 30.0

USER: Final = Credentials("user", "password")

_HTPASSWD: Final = "user:$2b$04$dbb0xKe54yl.CliT3v3syeH5kXAzs8HQ1knewMyAP6e7Y27MFRrOi\n"
"""The password is `password`, hashed with bcrypt, the only hash that distribution accepts."""

_DISTRIBUTION: Final = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage: {{inmemory: {{}}, delete: {{enabled: true}}, maintenance: {{uploadpurging: {{enabled: false}}}}}}
http: {{addr: "127.0.0.1:{port}", secret: not-secret}}
"""


@dataclass(frozen=True, slots=True)
class Running:
    """A running registry."""

    url: str
    credentials: Credentials | None = None
    tokens: TokenServer | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """A registry with its settings.

    Args:
        name: its column in docs/registries.md, and its settings.
        program: its name in .tools/bin.
        command: makes the command, from the path of the program, a new folder, and a port.
        authentication: "none", "htpasswd", or the algorithm with which a token server signs.
        cannot: the rows of docs/registries.md that it cannot do.
    """

    name: str
    program: str
    command: Callable[[Path, Path, int], list[str]]
    authentication: Literal["none", "htpasswd", "RS256", "ES256"] = "none"
    cannot: frozenset[str] = frozenset()

    @contextmanager
    def start(self, folder: Path, *, token_lifetime_s: int = 300) -> Iterator[Running]:
        """Run it until the block ends. If it does not start, the failure shows its output."""
        program, port = require_tool(self.program), free_port()
        with ExitStack() as stack:
            command = self.command(program, folder, port)
            credentials, tokens = None, None
            if self.authentication == "htpasswd":
                credentials = USER
                (folder / "htpasswd").write_text(_HTPASSWD)
                _add(folder, f"auth: {{htpasswd: {{realm: registry, path: {folder / 'htpasswd'}}}}}")
            elif self.authentication != "none":
                credentials, tokens = USER, TokenServer(self.authentication, token_lifetime_s)
                site = stack.enter_context(serve_with_uvicorn(tokens))
                tokens.write_certificate(folder / "certificate.pem")
                settings = f"issuer: {ISSUER}, service: {SERVICE}, rootcertbundle: {folder / 'certificate.pem'}"
                _add(folder, f'auth: {{token: {{realm: "{site.url}/token", {settings}}}}}')
            output = stack.enter_context((folder / "log").open("wb"))
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
            try:
                _wait(process, port, folder / "log")
                yield Running(f"http://127.0.0.1:{port}", credentials, tokens)
                assert process.poll() is None, (folder / "log").read_text(errors="replace")
            finally:
                process.kill()
                process.wait()


def _distribution(program: Path, folder: Path, port: int) -> list[str]:
    (folder / "config.yml").write_text(_DISTRIBUTION.format(port=port))
    return [str(program), "serve", str(folder / "config.yml")]


def _ociregistry(program: Path, folder: Path, port: int) -> list[str]:
    return [str(program), f"127.0.0.1:{port}"]


def _crane(program: Path, folder: Path, port: int) -> list[str]:
    return [str(program), "registry", "serve", "--address", f"127.0.0.1:{port}"]


def _add(folder: Path, line: str) -> None:
    with (folder / "config.yml").open("a") as file:
        file.write(f"{line}\n")


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/v2/")
            connection.getresponse()
            return
        except OSError:
            time.sleep(0.02)
        finally:
            connection.close()
    raise RuntimeError(f"the registry did not start:\n{log.read_text(errors='replace')}")


_NO_SHA512 = frozenset({"sha512"})
_NO_TAGS_DELETED = _NO_SHA512 | {"delete a tag"}

KINDS: Final = (
    Kind("distribution 3", "distribution3", _distribution, cannot=_NO_SHA512),
    Kind("distribution 3, htpasswd", "distribution3", _distribution, "htpasswd", _NO_SHA512),
    Kind("distribution 3, tokens", "distribution3", _distribution, "ES256", _NO_SHA512),
    Kind("distribution 2.8, htpasswd", "distribution2", _distribution, "htpasswd", _NO_TAGS_DELETED),
    Kind("distribution 2.8, tokens", "distribution2", _distribution, "RS256", _NO_TAGS_DELETED),
    Kind(
        "Go's ociserver",
        "ociregistry",
        _ociregistry,
        cannot=_NO_SHA512 | {"report a wrong digest", "report a range that is not satisfiable", "cancel an upload"},
    ),
    Kind(
        "go-containerregistry",
        "crane",
        _crane,
        cannot=frozenset({"continue an upload", "cancel an upload", "list repositories in pages", "mount a blob"}),
    ),
)
