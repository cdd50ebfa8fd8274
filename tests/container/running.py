"""`ociserver serve` as the container image starts it: by variables alone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.cli.process import TIMEOUT_S, clean_environment, eventually
from tests.support.leaks import remember, watched
from tests.support.server import free_port


@dataclass(frozen=True, slots=True)
class Container:
    """A server that was started by variables."""

    process: subprocess.Popen[bytes]
    output: Path
    port: int
    environment: dict[str, str]

    def printed(self) -> str:
        return self.output.read_text()

    def is_listening(self) -> bool:
        try:
            return self.request("GET", "/healthz")[0] == 200
        except OSError:
            return False

    def wait(self) -> None:
        """Wait until it answers."""
        eventually(lambda: self.process.poll() is not None or self.is_listening(), "an answer", self.printed)
        assert self.process.poll() is None, self.printed()

    def request(
        self, method: str, path: str, body: bytes = b"", *, user: str = "", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """One request. `user` is a name and a password with a colon."""
        if user:
            remember(user.partition(":")[2])
            headers["Authorization"] = f"Basic {b64encode(user.encode()).decode()}"
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def push(self, repository: str, *, user: str = "") -> str:
        """Push an artifact without layers, with the tag `v1`. Returns its digest."""
        config = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": EMPTY, "size": 2}
        status, _, said = self.request("POST", f"/v2/{repository}/blobs/uploads/?digest={EMPTY}", b"{}", user=user)
        assert status == 201, said
        content = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []}).encode()
        path = f"/v2/{repository}/manifests/v1"
        status, headers, said = self.request("PUT", path, content, user=user, Content_Type=MANIFEST)
        assert status == 201, said
        return headers["docker-content-digest"]

    def health(self) -> int:
        """The exit status of `ociserver health` in the same container."""
        command = [sys.executable, "-m", "ociserver", "health"]
        return subprocess.run(command, env=self.environment, capture_output=True, timeout=TIMEOUT_S).returncode


MANIFEST = "application/vnd.oci.image.manifest.v1+json"
EMPTY = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
"""The digest of `{}`, from the image spec."""


@contextmanager
def running(folder: Path, variables: Mapping[str, str] | None = None) -> Iterator[Container]:
    """Start a server, with its data below the folder. It need not answer yet. It must not print a secret."""
    port = free_port()
    given: dict[str, Any] = {
        "OCISERVER_CONTAINER": "1",
        "REGISTRY_HTTP_ADDR": f"127.0.0.1:{port}",
        "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(folder / "data"),
    }
    environment = clean_environment(given | dict(variables or {}))
    output = folder / f"output-{port}"
    with output.open("wb") as file:
        command = [sys.executable, "-m", "ociserver", "serve"]
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        )
    with watched(output, environment=variables):
        try:
            yield Container(process, output, port, environment)
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert process.wait(TIMEOUT_S) == 0, output.read_text()
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


@contextmanager
def answering(folder: Path, variables: Mapping[str, str] | None = None) -> Iterator[Container]:
    """The same, when it answers."""
    with running(folder, variables) as container:
        container.wait()
        yield container


def refused(folder: Path, variables: Mapping[str, str]) -> str:
    """What a server says that does not start because of its variables."""
    with running(folder, variables) as container:
        assert container.process.wait(TIMEOUT_S) == 2, container.printed()
        return container.printed()
