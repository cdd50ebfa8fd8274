"""A registry with something in it, and the requests that every fault is tried with."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.support.http import Answer, send
from tests.support.server import Server

REPOSITORY = "library/faulty"
IMAGE = "application/vnd.oci.image.manifest.v1+json"
SMALL, LARGE = b"small", os.urandom(200_000)
"""In the database, and in a file of its own."""
HALF = 100_000


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def image(layer: bytes) -> bytes:
    """A manifest whose config and only layer are the same blob."""
    descriptor = {"mediaType": "application/octet-stream", "digest": digest_of(layer), "size": len(layer)}
    return json.dumps({"schemaVersion": 2, "mediaType": IMAGE, "config": descriptor, "layers": [descriptor]}).encode()


class Registry:
    """A server, and what was pushed to it before anything went wrong."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def seed(self) -> None:
        """Two blobs, a tag, and an upload of which half is there."""
        assert self.push(SMALL).status == self.push(LARGE).status == 201
        assert self.push_manifest("one", image(SMALL)).status == 201
        self.upload = self.start().headers["Location"]
        assert self.append(0, HALF).status == 202

    def push(self, content: bytes) -> Answer:
        return self.ask("POST", f"blobs/uploads/?digest={digest_of(content)}", content)

    def push_manifest(self, tag: str, content: bytes) -> Answer:
        return self.ask("PUT", f"manifests/{tag}", content, {"Content-Type": IMAGE})

    def start(self) -> Answer:
        return self.ask("POST", "blobs/uploads/")

    def append(self, start: int, stop: int) -> Answer:
        """Send a part of LARGE to the upload."""
        return send(self.server, "PATCH", self.upload, LARGE[start:stop], {"Content-Range": f"{start}-{stop - 1}"})

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        return send(self.server, method, f"/v2/{REPOSITORY}/{path}", body, headers)

    def blob(self, content: bytes, method: str = "GET") -> Answer:
        return self.ask(method, f"blobs/{digest_of(content)}")

    def pushes(self) -> dict[str, Answer]:
        """One request of each kind that needs space."""
        return {
            "large blob": self.push(os.urandom(300_000)),
            "small blob": self.push(os.urandom(1000)),
            "manifest": self.push_manifest("two", image(LARGE)),
            "chunk": self.append(HALF, len(LARGE)),
            "new upload": self.start(),
        }

    def wait_for_log(self, pattern: str, timeout_s: float = 10) -> None:
        """The log is written by a thread of its own."""
        deadline = time.monotonic() + timeout_s
        while not re.search(pattern, self.server.log_tail()):
            assert time.monotonic() < deadline, f"no {pattern!r} in the log:\n{self.server.log_tail()}"
            time.sleep(0.02)

    def assert_reads(self) -> None:
        """Everything that was there at first is, and is listed."""
        assert self.blob(LARGE).body == LARGE
        assert self.blob(SMALL).body == SMALL
        assert self.blob(LARGE, "HEAD").headers["Content-Length"] == str(len(LARGE))
        assert self.ask("GET", "manifests/one").body == image(SMALL)
        assert "one" in json.loads(self.ask("GET", "tags/list").body)["tags"]


def error_of(answer: Answer) -> str:
    """The message of an error, in the form that all of them have."""
    assert answer.headers["Content-Type"] == "application/json"
    (error,) = json.loads(answer.body)["errors"]
    assert error["code"] == "UNKNOWN"
    message: str = error["message"]
    assert "/" not in message, "no path of the server"
    return message


def ociserver(*arguments: str | Path, status: int = 0) -> str:
    """Run another command; what it printed. It ends with this status, and without a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "ociserver", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == status, said
    assert "Traceback" not in said, said
    return said
