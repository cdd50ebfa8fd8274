"""Large pushes under granian: the pieces go to the file without the event loop."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

import pytest

from ociserver import Handler
from ociserver.serve.run import Limits, run
from ociserver.store import Store
from ociserver.store.upload_file import UploadFile
from tests.contract.contents import REPOSITORY, digest_of

UPLOADS = f"/v2/{REPOSITORY}/blobs/uploads/"
CHUNK = 3_000_000


class Adding:
    """Records the threads that add pieces, and how many bytes each adds."""

    def __init__(self) -> None:
        self.loop = 0
        self.elsewhere = 0

    def note(self, size: int) -> None:
        if threading.current_thread() is threading.main_thread():
            self.loop += size
        else:
            self.elsewhere += size


@pytest.fixture
def adding(monkeypatch: pytest.MonkeyPatch) -> Adding:
    noted, add = Adding(), UploadFile.add

    def noting(self: UploadFile, data: bytes) -> int | None:
        noted.note(len(data))
        return add(self, data)

    monkeypatch.setattr(UploadFile, "add", noting)
    return noted


def served(store: Store, work: Callable[[http.client.HTTPConnection], None]) -> None:
    """Run `work` against a server over the store."""
    listener = socket.create_server(("127.0.0.1", 0))
    host, port = listener.getsockname()
    failures = list[BaseException]()

    def work_and_stop() -> None:
        connection = http.client.HTTPConnection(host, port, timeout=30)
        try:
            work(connection)
        except BaseException as error:  # reported in the thread of the test
            failures.append(error)
        finally:
            connection.close()
            os.kill(os.getpid(), signal.SIGINT)

    working = threading.Thread(target=work_and_stop)
    outcome = run(Handler(store), [listener], Limits(8, 1.0), None, working.start)
    working.join()
    if failures:
        raise failures[0]
    assert outcome.status == 0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    body: bytes


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
) -> Answer:
    connection.request(method, target, body, headers or {})
    response = connection.getresponse()
    return Answer(response.status, response.headers, response.read())


def post(connection: http.client.HTTPConnection, content: bytes) -> None:
    assert ask(connection, "POST", f"{UPLOADS}?digest={digest_of(content)}", content).status == 201


def put(connection: http.client.HTTPConnection, content: bytes) -> None:
    location = ask(connection, "POST", UPLOADS).headers["location"]
    assert ask(connection, "PUT", f"{location}?digest={digest_of(content)}", content).status == 201


def patches(connection: http.client.HTTPConnection, content: bytes) -> None:
    location = ask(connection, "POST", UPLOADS).headers["location"]
    for start in range(0, len(content), CHUNK):
        chunk = content[start : start + CHUNK]
        headers = {"Content-Range": f"{start}-{start + len(chunk) - 1}"}
        answer = ask(connection, "PATCH", location, chunk, headers)
        assert (answer.status, answer.headers["range"]) == (202, f"0-{start + len(chunk) - 1}")
    assert ask(connection, "PUT", f"{location}?digest={digest_of(content)}").status == 201


@pytest.mark.parametrize("push", [post, put, patches])
def test_most_of_a_push_bypasses_the_loop(
    tmp_path: Path, adding: Adding, push: Callable[[http.client.HTTPConnection, bytes], None]
) -> None:
    content = os.urandom(8_000_000)

    def work(connection: http.client.HTTPConnection) -> None:
        push(connection, content)
        answer = ask(connection, "GET", f"/v2/{REPOSITORY}/blobs/{digest_of(content)}")
        assert answer.body == content

    served(Store(tmp_path), work)
    assert adding.loop + adding.elsewhere == len(content)
    assert adding.elsewhere > adding.loop


def test_a_wrong_digest(tmp_path: Path) -> None:
    content = os.urandom(3_000_000)

    def work(connection: http.client.HTTPConnection) -> None:
        answer = ask(connection, "POST", f"{UPLOADS}?digest={digest_of(b'other')}", content)
        assert answer.status == 400
        post(connection, content)

    served(Store(tmp_path), work)


def test_what_arrived_before_a_disconnect_is_kept(tmp_path: Path) -> None:
    content = os.urandom(5_000_000)

    def work(connection: http.client.HTTPConnection) -> None:
        location = ask(connection, "POST", UPLOADS).headers["location"]
        other = http.client.HTTPConnection(connection.host, connection.port, timeout=30)
        other.putrequest("PATCH", location)
        other.putheader("Content-Length", str(len(content)))
        other.endheaders()
        other.send(content[:4_000_000])
        other.close()
        there = 0
        while there < 4_000_000:
            # Until then the server refuses to continue the upload, or has fewer bytes of it.
            there = int(ask(connection, "GET", location).headers["range"].removeprefix("0-")) + 1
        headers = {"Content-Range": f"{there}-{len(content) - 1}"}
        target = f"{location}?digest={digest_of(content)}"
        assert ask(connection, "PUT", target, content[there:], headers).status == 201

    served(Store(tmp_path), work)
