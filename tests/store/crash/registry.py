"""A client that remembers what it was told."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPMessage
from urllib.parse import urlsplit

from tests.store.crash.server import DiedError

IMAGE = "application/vnd.oci.image.manifest.v1+json"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: HTTPMessage
    body: bytes


@dataclass(slots=True)
class Ledger:
    """What the registry has acknowledged; what is under way is in neither half of it.

    Args:
        there: path to pull it by -> its digest.
        gone: paths of what was deleted.
    """

    there: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    def begin(self, *paths: str) -> None:
        """From now on, until it is answered, these may be there or not."""
        for path in paths:
            self.there.pop(path, None)
            self.gone.discard(path)

    def pushed(self, digest: str, *paths: str) -> None:
        self.there.update(dict.fromkeys(paths, digest))

    def deleted(self, *paths: str) -> None:
        self.gone.update(paths)


class Registry:
    """One connection, on which one request follows another."""

    def __init__(self, port: int, ledger: Ledger) -> None:
        self.ledger = ledger
        # How far uploads are that were acknowledged in part, by where they go on.
        self.uploads: dict[str, int] = {}
        self.connect(port)

    def connect(self, port: int) -> None:
        """Go on with a server that was started again."""
        self._connection = HTTPConnection("127.0.0.1", port, timeout=60)

    def close(self) -> None:
        self._connection.close()

    def request(
        self, method: str, target: str, expected: Iterable[int], body: bytes | None = None, **headers: str
    ) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            self._connection.request(method, target, body, named)
            response = self._connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        except (OSError, HTTPException) as error:
            self.close()
            raise DiedError from error
        assert answer.status in expected, f"{method} {target}: {answer.status} {answer.body[:500]!r}"
        return answer

    # Blobs

    def post(self, repository: str, content: bytes) -> None:
        """In one request."""
        path, digest = self._begin_blob(repository, content)
        self.request("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", [201], content)
        self.ledger.pushed(digest, path)

    def put(self, repository: str, content: bytes) -> None:
        """In two."""
        path, digest = self._begin_blob(repository, content)
        location = self.start(repository)
        self.request("PUT", f"{location}?digest={digest}", [201], content)
        self.uploads.pop(location)
        self.ledger.pushed(digest, path)

    def start(self, repository: str) -> str:
        answer = self.request("POST", f"/v2/{repository}/blobs/uploads/", [202])
        location = urlsplit(answer.headers["Location"]).path
        self.uploads[location] = 0
        return location

    def patch(self, location: str, content: bytes) -> None:
        offset = self.uploads[location]
        stop = offset + len(content)
        self.request("PATCH", location, [202], content, Content_Range=f"{offset}-{stop - 1}")
        self.uploads[location] = stop

    def finish(self, repository: str, location: str, content: bytes, rest: bytes = b"") -> None:
        path, digest = self._begin_blob(repository, content)
        headers = {"Content_Range": f"{self.uploads[location]}-{len(content) - 1}"} if rest else {}
        self.request("PUT", f"{location}?digest={digest}", [201], rest, **headers)
        self.uploads.pop(location)
        self.ledger.pushed(digest, path)

    def progress(self, location: str) -> int | None:
        """How far an upload is; None if it has ended."""
        answer = self.request("GET", location, [204, 404])
        if answer.status == 404:
            self.uploads.pop(location, None)
            return None
        last = int(answer.headers["Range"].partition("-")[2])
        self.uploads[location] = last + 1 if last else 0
        return self.uploads[location]

    def mount(self, source: str, repository: str, content: bytes) -> None:
        path, digest = self._begin_blob(repository, content)
        self.request("POST", f"/v2/{repository}/blobs/uploads/?mount={digest}&from={source}", [201])
        self.ledger.pushed(digest, path)

    def head(self, path: str) -> None:
        self.request("HEAD", path, [200])

    # Manifests

    def manifest(self, repository: str, content: bytes, *tags: str, media_type: str = IMAGE) -> None:
        digest = digest_of(content)
        paths = [f"/v2/{repository}/manifests/{reference}" for reference in (digest, *tags)]
        self.ledger.begin(*paths)
        query = "&".join(f"tag={tag}" for tag in tags)
        self.request("PUT", f"{paths[0]}?{query}", [201], content, Content_Type=media_type)
        self.ledger.pushed(digest, *paths)

    # Deletion

    def delete(self, path: str, *with_it: str, again: bool = False) -> None:
        """Delete what is at a path; `with_it`: what goes too; `again`: it may have happened already."""
        self.ledger.begin(path, *with_it)
        self.request("DELETE", path, [202, 404] if again else [202])
        self.ledger.deleted(path, *with_it)

    def cancel(self, location: str, *, again: bool = False) -> None:
        self.ledger.begin(location)
        self.request("DELETE", location, [204, 404] if again else [204])
        self.uploads.pop(location, None)
        self.ledger.deleted(location)

    # Afterwards

    def verify(self) -> None:
        """Everything that was acknowledged is so."""
        for path, digest in self.ledger.there.items():
            answer = self.request("GET", path, [200])
            assert digest_of(answer.body) == digest, path
            assert self.request("HEAD", path, [200]).headers["Docker-Content-Digest"] == digest
        for path in self.ledger.gone:
            self.request("GET", path, [404])
        for location, acknowledged in list(self.uploads.items()):
            reached = self.progress(location)
            assert reached is None or reached >= acknowledged, "an acknowledged chunk is lost"

    def _begin_blob(self, repository: str, content: bytes) -> tuple[str, str]:
        digest = digest_of(content)
        path = f"/v2/{repository}/blobs/{digest}"
        self.ledger.begin(path)
        return path, digest
