"""A load generator that counts what it sends and what it gets."""

from __future__ import annotations

import hashlib
import json
import random
import threading
from collections import Counter
from http.client import HTTPConnection, HTTPException

from tests.support.server import Server

SMALL = 2_000
LARGE = 300_000
KINDS = 9


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Generator(threading.Thread):
    """One client with one connection. It connects again if the connection breaks."""

    def __init__(self, server: Server, number: int) -> None:
        super().__init__(daemon=True)
        self.answers: Counter[tuple[str, str]] = Counter()
        """By method and status."""
        self.sent = 0
        self.received = 0
        self.broken = 0
        self.ended = threading.Event()
        self._server = server
        self._random = random.Random(number)
        self._repository = f"team/app{number}"
        self._connection = HTTPConnection(server.host, server.port, timeout=60)
        self.blobs: dict[str, bytes] = {}
        """What it has pushed, by digest."""
        self._manifest = ""

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                self.step()
            except (OSError, HTTPException):
                self.broken += 1
                self._connection.close()

    def stop(self) -> None:
        self.ended.set()
        self.join()
        self.close()

    def close(self) -> None:
        self._connection.close()

    def step(self) -> None:
        """One of several things that clients do. A push comes first."""
        base = f"/v2/{self._repository}"
        if not self._manifest:
            self._push(SMALL)
        choice = self._random.randrange(KINDS)
        digest = self._random.choice(list(self.blobs))
        if choice == 0:
            self._push(self._random.choice((SMALL, LARGE)))
        elif choice == 1:
            self._ask("GET", f"{base}/blobs/{digest}")
        elif choice == 2:
            self._ask("HEAD", f"{base}/blobs/{digest}")
        elif choice == 3:
            self._ask("GET", f"{base}/manifests/unknown")
        elif choice == 4:
            self._ask("GET", f"{base}/tags/list")
        elif choice == 5:
            self._ask("GET", f"{base}/blobs/not-a-digest")
        elif choice == 6:
            self._ask("GET", f"{base}/blobs/{digest}", headers={"Range": "bytes=0-9"})
        else:
            self._ask("GET", f"{base}/manifests/latest")

    def _push(self, size: int) -> None:
        content = self._random.randbytes(size)
        digest, base = digest_of(content), f"/v2/{self._repository}"
        _, location = self._ask("POST", f"{base}/blobs/uploads/")
        self._ask("PUT", f"{location}{'&' if '?' in location else '?'}digest={digest}", content)
        self.blobs[digest] = content
        blob = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": size}
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": blob,
            "layers": [],
        }
        self._manifest = json.dumps(manifest)
        headers = {"Content-Type": manifest["mediaType"]}
        self._ask("PUT", f"{base}/manifests/latest", self._manifest.encode(), headers)  # type: ignore[arg-type]

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        self._connection.request(method, path, body, headers or {})
        answer = self._connection.getresponse()
        self.received += len(answer.read())
        self.sent += len(body or b"")
        self.answers[method, str(answer.status)] += 1
        return answer.status, answer.headers.get("Location", "").removeprefix(self._server.url)
