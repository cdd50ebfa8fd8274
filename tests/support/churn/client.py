"""One client: it pushes, pulls and deletes at random, and checks whether each answer is allowed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from tests.support.churn.connection import Connections
from tests.support.churn.image import FAMILIES, POOL, Blob, Image, make_image, make_index
from tests.support.churn.ledger import Ledger, Mark, Promise
from tests.support.churn.tally import Tally
from tests.support.http import Answer, with_query
from tests.support.images import digest_of
from tests.support.server import Server

REPOSITORIES: Final = tuple(f"churn/repository-{number}" for number in range(8))

MOVING_TAGS: Final = ("latest", "edge", "stable")
"""Tags of each repository. All clients move them."""

MOST_PROMISES: Final = 250
"""Number of promises above which clients delete, so that a long run does not need more space than a short one."""

DEEDS: Final = {
    "push": 14,
    "push_moving": 8,
    "push_again": 4,
    "restore": 12,
    "push_index": 5,
    "pull": 40,
    "delete_tag": 5,
    "delete_manifest": 5,
    "delete_all": 3,
    "delete_blob": 1,
    "abandon": 4,
}
"""Weight of each action."""


class GoneError(Exception):
    """Another client has deleted a needed content, or the content is too old to be relied on."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A push in progress.

    Args:
        ledger: shared by all clients.
        mark: the contents that the push relies on.
        end: time until which collection keeps the first blob of the push.
        pause_s: pause before the last manifest, in seconds.
    """

    ledger: Ledger
    mark: Mark
    end: float
    pause_s: float = 0

    def check(self, answer: Answer, expected: int, what: str, needs: Iterable[str]) -> None:
        """Raise if the status is another: GoneError if a needed content may be gone, otherwise AssertionError."""
        if answer.status == expected:
            return
        failure = f"{what}: {answer.status} {answer.body[:300]!r}"
        if answer.status != 404:
            raise AssertionError(failure)
        if time.monotonic() > self.end:
            raise GoneError("late")
        if self.ledger.holds({path: self.mark[path] for path in needs}):
            raise AssertionError(failure)
        raise GoneError("deleted meanwhile")


class Client:
    """One client.

    Args:
        server: the server under load.
        ledger: shared by all clients.
        number: seed of its random numbers.
        patience_s: how long collection keeps a blob that no manifest references.
    """

    def __init__(self, server: Server, ledger: Ledger, number: int, patience_s: float) -> None:
        self.tally = Tally()
        self.failure: BaseException | None = None
        self._server = server
        self._ledger = ledger
        self._number = number
        self._patience_s = patience_s
        self._dice = random.Random(number)
        self.connections = Connections(server, self._dice)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set. A failure sets it for all clients."""
        try:
            with self.connections:
                while not stop.is_set():
                    self._act()
        except BaseException as failure:
            self.failure = failure
            stop.set()

    def _act(self) -> None:
        promise = self._ledger.choose(self._dice)
        (deed,) = self._dice.choices(list(DEEDS), list(DEEDS.values()))
        if deed == "abandon":
            self._abandon()
        elif promise is None or deed == "push":
            self._push(self._new_image(self._new_tag()), promise)
        elif deed == "push_moving":
            self._push(self._new_image(self._dice.choice(MOVING_TAGS)), promise)
        elif deed == "push_again":
            self._push(promise.image, promise)
        elif deed == "restore":
            # Slowly, so that collection looks at its blobs before its manifest arrives.
            image = self._ledger.choose_deleted(self._dice) or promise.image
            self._push(image, promise, pause_s=self._dice.uniform(0, self._patience_s / 2))
        elif deed == "push_index":
            self._push(self._new_index(), promise)
        elif deed == "pull" and len(self._ledger) < MOST_PROMISES:
            self.pull(promise)
        elif deed == "delete_tag":
            self._delete(promise, promise.image.tag_path)
        elif deed == "delete_blob":
            image = self._dice.choice(promise.image.all)
            if image.blobs:
                self._delete(promise, image.blob_path(self._dice.choice(image.blobs)))
        else:
            self._delete(promise, promise.image.path)
            if deed == "delete_all":
                for path in promise.image.needs:
                    self._delete(promise, path)

    # Pushes

    def _new_image(self, tag: str | None, repository: str | None = None) -> Image:
        layers = self._dice.sample(POOL, self._dice.randint(0, 3))
        family = self._dice.choice(FAMILIES)
        return make_image(repository or self._dice.choice(REPOSITORIES), tag, layers, family, self._dice)

    def _new_index(self) -> Image:
        repository = self._dice.choice(REPOSITORIES)
        children = [self._new_image(None, repository) for _ in range(2)]
        return make_index(repository, self._new_tag(), children, self._dice.choice(FAMILIES))

    def _new_tag(self) -> str:
        return f"v{self._number}.{self._dice.getrandbits(64)}"

    def _push(self, image: Image, source: Promise | None, *, pause_s: float = 0) -> None:
        """Push an image. Blobs that the image `source` has are mounted from there."""
        began = time.monotonic()
        attempt = Attempt(self._ledger, self._ledger.mark(image.parts), began + self._patience_s, pause_s)
        try:
            for part in image.children:
                self._push_part(attempt, part, source)
            mark = attempt.mark | self._push_part(attempt, image, source)
        except GoneError as gone:
            self.tally.counts[f"pushes given up, {gone}"] += 1
            return
        self._ledger.promise(Promise(image, mark))
        self.tally.push_s.append(time.monotonic() - began - pause_s)
        self.tally.counts["pushes of an index" if image.children else "pushes of an image"] += 1

    def _push_part(self, attempt: Attempt, image: Image, source: Promise | None) -> Mark:
        for blob in image.blobs:
            self._push_blob(attempt, image, blob, source)
        tag_path = image.tag_path
        if tag_path is None:
            self._put_manifest(attempt, image, image.path)
            return {}
        time.sleep(attempt.pause_s)
        if image.tag not in MOVING_TAGS:
            mark = self._ledger.mark([tag_path])
            self._put_manifest(attempt, image, tag_path)
            return mark
        # The image that the tag named before is no longer promised.
        with self._ledger.deleting(tag_path):
            mark = self._ledger.mark([tag_path], own=1)
            self._put_manifest(attempt, image, tag_path)
            return mark

    def _put_manifest(self, attempt: Attempt, image: Image, path: str) -> None:
        answer = self._request("PUT", path, image.manifest, {"Content-Type": image.media_type})
        attempt.check(answer, 201, f"PUT {path}", image.needs)
        if answer.headers["Docker-Content-Digest"] != image.digest:
            raise AssertionError(f"PUT {path}: not the digest of what was pushed")

    def _push_blob(self, attempt: Attempt, image: Image, blob: Blob, source: Promise | None) -> None:
        path = image.blob_path(blob)
        how = self._dice.choice(("ask", "ask", "mount", "mount from anywhere", "upload"))
        if how == "ask":
            answer = self._request("HEAD", path)
            if answer.status == 200:
                self.tally.counts["blobs that were there"] += 1
                return
            if answer.status != 404:
                raise AssertionError(f"HEAD {path}: {answer.status}")
        location = ""
        if how.startswith("mount"):
            location = self._mount(image.repository, blob, source if how == "mount" else None)
            if not location:
                return
        self._upload(attempt, image.repository, blob, location)
        if self._dice.random() < 0.25:
            attempt.check(self._request("HEAD", path), 200, f"HEAD {path} after its push", [path])

    def _mount(self, repository: str, blob: Blob, source: Promise | None) -> str:
        """Mount a blob. Returns "", or the location of an upload if the server did not mount it."""
        image = source and next((part for part in source.image.all if blob in part.blobs), None)
        origin = image.repository if image else self._dice.choice(REPOSITORIES)
        target = f"/v2/{repository}/blobs/uploads/?mount={blob.digest}&from={origin}"
        answer = self._request("POST", target)
        if answer.status == 201:
            self.tally.counts["mounts"] += 1
            return ""
        if answer.status != 202 or (image and source and self._ledger.holds(source.mark)):
            raise AssertionError(f"POST {target}: {answer.status} {answer.body[:300]!r}")
        return urlsplit(answer.headers["Location"]).path

    def _upload(self, attempt: Attempt, repository: str, blob: Blob, location: str) -> None:
        """Upload a blob in one or more requests. `location` is that of an upload that has been started."""
        how = self._dice.choice(("POST", "PUT", "PATCH"))
        start = f"/v2/{repository}/blobs/uploads/"
        if how == "POST" and not location:
            answer = self._request("POST", f"{start}?digest={blob.digest}", blob.content)
            attempt.check(answer, 201, f"POST {start}", [])
        else:
            location = location or self._start(repository)
            rest = blob.content if how != "PATCH" else self._send_chunks(attempt, location, blob.content)
            answer = self._request("PUT", with_query(location, f"digest={blob.digest}"), rest)
            attempt.check(answer, 201, f"PUT {location}", [])
        self.tally.counts["uploads"] += 1
        self.tally.counts["bytes uploaded"] += len(blob.content)

    def _start(self, repository: str) -> str:
        answer = self._request("POST", f"/v2/{repository}/blobs/uploads/")
        if answer.status != 202:
            raise AssertionError(f"the server did not start an upload: {answer.status} {answer.body[:300]!r}")
        return urlsplit(answer.headers["Location"]).path

    def _send_chunks(self, attempt: Attempt, location: str, content: bytes) -> bytes:
        """Send the content in two chunks. Returns the body of the PUT, which is empty."""
        middle = len(content) // 2
        for first, last in ((0, middle), (middle, len(content))):
            fields = {"Content-Range": f"{first}-{last - 1}", "Content-Type": "application/octet-stream"}
            answer = self._request("PATCH", location, content[first:last], fields)
            attempt.check(answer, 202, f"PATCH {location}", [])
        return b""

    def _abandon(self) -> None:
        """Leave an unfinished upload or an unreferenced blob for collection."""
        repository, content = self._dice.choice(REPOSITORIES), Blob(self._dice.randbytes(50_000))
        attempt = Attempt(self._ledger, {}, time.monotonic() + self._patience_s)
        try:
            if self._dice.random() < 0.5:
                self._upload(attempt, repository, content, "")
            else:
                self._send_chunks(attempt, self._start(repository), content.content)
        except GoneError:
            return
        self.tally.counts["blobs and uploads left behind"] += 1

    # Pulls

    def pull(self, promise: Promise) -> None:
        """Pull a whole image. Raises if that fails although the promise still holds."""
        began, image = time.monotonic(), promise.image
        try:
            for part in reversed(image.all):
                by_tag = part.tag_path if self._dice.random() < 0.5 else None
                self._get(promise, by_tag or part.path, part.digest)
                for blob in part.blobs:
                    self._get(promise, part.blob_path(blob), blob.digest)
        except GoneError:
            self.tally.counts["pulls of what was being deleted"] += 1
            return
        self.tally.pull_s.append(time.monotonic() - began)
        self.tally.counts["pulls"] += 1

    def _get(self, promise: Promise, path: str, digest: str) -> None:
        answer = self._request("GET", path)
        if answer.status == 200:
            found = digest_of(answer.body)
            if found != answer.headers["Docker-Content-Digest"]:
                raise AssertionError(f"GET {path}: bytes of {found}")
            self.tally.counts["bytes pulled"] += len(answer.body)
            if found == digest:
                return
        if answer.status not in (200, 404) or self._ledger.holds(promise.mark):
            raise AssertionError(f"GET {path}: {answer.status} {answer.body[:300]!r}")
        raise GoneError("deleted meanwhile")

    # Deletions

    def _delete(self, promise: Promise, path: str | None) -> None:
        """Delete a part of an image. Raises if it is missing although no other client has begun to delete any of it."""
        assert path
        with self._ledger.deleting(path):
            answer = self._request("DELETE", path)
            if answer.status == 202:
                self.tally.counts["deletes"] += 1
                self._ledger.remember(promise.image)
            elif answer.status != 404 or self._ledger.holds(promise.mark | {path: promise.mark[path] + 1}):
                raise AssertionError(f"DELETE {path}: {answer.status} {answer.body[:300]!r}")

    def _request(self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        self.tally.counts["requests"] += 1
        answer = self.connections.request(method, target, body, headers)
        if answer.status >= 500:
            raise AssertionError(f"{method} {target}: {answer.status} {answer.body[:300]!r}")
        return answer
