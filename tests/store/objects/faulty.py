"""Clients that push and pull by HTTP while parts of the registry fail, and check each answer."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from typing import Final
from urllib.parse import urlsplit

from tests.contract.contents import digest_of
from tests.store.objects.looking import PART
from tests.support.http import Answer, with_query
from tests.support.server import Server

__all__ = ["REPOSITORY", "Clients", "Upload", "pull"]

REPOSITORY: Final = "group/project"

SIZES: Final = (30_000, 300_000, PART + 100_000, 2 * PART + 7)
"""In one object, and in more parts than one."""

PAUSE_S: Final = 0.2
"""How long a client waits after it was refused, instead of what the server says."""


class Clients:
    """Clients that work at the same time, each request on another node than the one before.

    Args:
        nodes: the servers.
        most_s: how long a request may take.
    """

    def __init__(self, nodes: Sequence[Server], most_s: float) -> None:
        self.counts: Counter[str] = Counter()
        self.slowest_s = 0.0
        self.acknowledged: dict[str, int] = {}
        """The sizes of all blobs that were acknowledged, by their digests."""
        self._nodes = nodes
        self._most_s = most_s
        self._stop = threading.Event()
        self._failures: list[BaseException] = []

    @contextmanager
    def working(self, count: int) -> Iterator[None]:
        """Work until the block ends, and until each client has ended what it has begun. Raises their first failure."""
        self._stop.clear()
        threads = [threading.Thread(target=self._work, args=(random.Random(number),)) for number in range(count)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
        if self._failures:
            raise self._failures[0]

    def _work(self, dice: random.Random) -> None:
        try:
            while not self._stop.is_set():
                content = random.randbytes(dice.choice(SIZES))
                upload = Upload(self, content, dice.randrange(2))
                while upload.position < len(content):
                    upload.patch(dice.randint(1, len(content)))
                upload.finish()
                digest, size = dice.choice(list(self.acknowledged.items()))
                pull(self, dice.randrange(2), digest, size)
        except BaseException as failure:
            self._failures.append(failure)
            self._stop.set()

    def request(
        self, node: int, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request. The body of the answer may have been cut."""
        server = self._nodes[node % len(self._nodes)]
        connection = HTTPConnection(server.host, server.port, timeout=self._most_s)
        parts = urlsplit(target)
        begun = time.monotonic()
        content = bytearray()
        try:
            connection.request(method, f"{parts.path}?{parts.query}", body, dict(headers or {}))
            response = connection.getresponse()
            self.slowest_s = max(self.slowest_s, time.monotonic() - begun)
            with contextlib.suppress(OSError, HTTPException):
                while piece := response.read1(1 << 20):
                    content += piece
        except OSError as error:
            raise AssertionError(f"{method} {target}: no answer in {time.monotonic() - begun:.1f} s") from error
        finally:
            connection.close()
        answer = Answer(response.status, response.headers, bytes(content))
        self.counts[f"{method} {answer.status}"] += 1
        if answer.status >= 500:
            assert answer.status == 503, f"{method} {target}: {answer.status} {answer.body!r}"
            assert answer.headers["Retry-After"], answer.body
        return answer

    def insist(
        self,
        node: int,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request to one node after the other, until the answer is not 503."""
        deadline = time.monotonic() + 2 * self._most_s
        while (answer := self.request(node, method, target, body, headers)).status == 503:
            assert time.monotonic() < deadline, f"{method} {target}: refused for too long"
            time.sleep(PAUSE_S)
            node += 1
        return answer


class Upload:
    """An upload of one client, which goes on after each failure.

    Args:
        clients: sends the requests.
        content: the whole blob.
        node: gets the first request. Each further one goes to the next node.
    """

    def __init__(self, clients: Clients, content: bytes, node: int) -> None:
        self.position = 0
        self._clients = clients
        self._content = content
        self._node = node
        self._was_refused = False
        answer = clients.insist(node, "POST", f"/v2/{REPOSITORY}/blobs/uploads/")
        assert answer.status == 202, answer.status
        self._location = answer.headers["Location"]

    def patch(self, size: int) -> None:
        """Send so many bytes, or find out how many the registry has."""
        piece = self._content[self.position : self.position + size]
        headers = {"Content-Range": f"{self.position}-{self.position + len(piece) - 1}"}
        answer = self._send("PATCH", self._location, piece, headers)
        if answer.status == 202:
            self.position += len(piece)
            self._location = answer.headers["Location"]
        else:
            self._find_position(answer)

    def finish(self) -> None:
        """Send the rest, and end the upload."""
        digest = digest_of(self._content)
        while True:
            answer = self._send("PUT", with_query(self._location, f"digest={digest}"), self._content[self.position :])
            if answer.status == 201 or not self._find_position(answer):
                break
        found = self._clients.insist(self._node, "HEAD", f"/v2/{REPOSITORY}/blobs/{digest}")
        assert found.status == 200, f"{digest} of {len(self._content)} bytes was acknowledged: {found.status}"
        self._clients.acknowledged[digest] = len(self._content)

    def _send(self, method: str, target: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        self._node += 1
        return self._clients.request(self._node, method, target, body, headers)

    def _find_position(self, answer: Answer) -> bool:
        """Ask for it after a request was refused. Returns False if the upload has ended."""
        self._was_refused = self._was_refused or answer.status == 503
        # What a refused request held may have to end by itself. A refused end may have been recorded nevertheless.
        assert self._was_refused, f"{answer.status} {answer.body!r}"
        assert answer.status in {503, 416, 404}, f"{answer.status} {answer.body!r}"
        time.sleep(PAUSE_S)
        found = self._clients.insist(self._node, "GET", self._location)
        if found.status == 404:
            return False
        assert found.status == 204, f"{found.status} {found.body!r}"
        self.position = int(found.headers["Range"].partition("-")[2]) + 1 if found.headers["Range"] != "0-0" else 0
        return True


def pull(clients: Clients, node: int, digest: str, size: int) -> None:
    """Get a blob. The download may be cut, and then begins again where it ended."""
    content = bytearray()
    while len(content) < size:
        headers = {"Range": f"bytes={len(content)}-"} if content else {}
        answer = clients.insist(node, "GET", f"/v2/{REPOSITORY}/blobs/{digest}", headers=headers)
        assert answer.status == (206 if content else 200), f"{digest}: {answer.status} {answer.body!r}"
        content += answer.body
        if len(content) < size:
            clients.counts["downloads cut"] += 1
            time.sleep(PAUSE_S)
    assert digest_of(bytes(content)) == digest
