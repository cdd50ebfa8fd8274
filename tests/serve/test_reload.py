"""SIGHUP: what changes, what does not, and that no request fails."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.cli.process import Serve, eventually, serving
from tests.serve.test_shutdown import SlowUpload, push
from tests.serve.test_workers import children, is_gone
from tests.support.server import free_port

READ = "the configuration was reloaded"
REFUSED = "the configuration was not reloaded"
STORE = '{{ kind = "store", data = "{folder}/data" }}'
RELOADS = 8


class File:
    """A server with a configuration file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "registry.toml"
        self.store = STORE.format(folder=folder)
        self.server: Serve | None = None
        self._reloads = 0

    def write(self, registry: str, **tables: str) -> None:
        text = "".join(f"[{name}]\n{keys}\n" for name, keys in tables.items())
        self.path.write_text(f"registry = {registry}\n{text}")

    def reload(self, said: str = READ) -> None:
        """Send SIGHUP, and wait until the server has logged this text again."""
        assert self.server
        server, before = self.server, self.server.printed().count(said)
        server.signal(signal.SIGHUP)
        eventually(lambda: server.printed().count(said) > before, f"another {said!r}", server.printed)

    @contextmanager
    def served(self, *arguments: str) -> Iterator[Serve]:
        with serving(self.folder, "--config", str(self.path), *arguments) as server:
            self.server = server
            yield server


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path)


def read_only(file: File) -> str:
    return f'{{ kind = "read-only", backend = {file.store} }}'


def refuses_pushes(server: Serve) -> bool:
    status, body = server.get("/v2/hello/blobs/uploads/", "POST")
    return status == 400 and json.loads(body)["errors"][0]["code"] == "UNSUPPORTED"


def ids(server: Serve) -> list[str]:
    return re.findall(r"id=(\S+)$", server.printed(), re.MULTILINE)


def test_an_upload_and_a_download_in_progress_finish(file: File) -> None:
    content = os.urandom(64 << 20)
    file.write(file.store)
    with file.served() as server:
        digest = push(server, "large", content)
        upload = SlowUpload(server)
        # A small buffer, so that the server cannot finish sending.
        download = socket.socket()
        server.opened.callback(download.close)
        download.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        download.connect(("127.0.0.1", server.port))
        download.sendall(f"GET /v2/large/blobs/{digest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        received = [download.recv(1 << 16)]

        file.write(read_only(file))
        file.reload()
        eventually(lambda: refuses_pushes(server), "pushes to be refused", server.printed)
        # Twice, so that there are requests of two earlier generations.
        file.reload()

        assert upload.finish() == b"HTTP/1.1 201 Created\r\n"
        while piece := download.recv(1 << 20):
            received.append(piece)
        body = b"".join(received).partition(b"\r\n\r\n")[2]
        assert f"sha256:{hashlib.sha256(body).hexdigest()}" == digest
        server.signal(signal.SIGTERM)
        assert server.exit_status() == 0
    assert "Traceback" not in server.printed()


class Asking(threading.Thread):
    """A client that repeats the same request on one connection."""

    def __init__(self, server: Serve, path: str) -> None:
        super().__init__()
        self._connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
        self._path = path
        self._ended = threading.Event()
        self.answers: list[tuple[int, bytes]] = []
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            while not self._ended.is_set():
                self._connection.request("GET", self._path)
                answer = self._connection.getresponse()
                self.answers.append((answer.status, answer.read()))
        except Exception as error:
            self.error = error
        finally:
            self._connection.close()

    def end(self) -> None:
        self._ended.set()
        self.join(30)


def test_no_request_fails_while_the_registry_behind_is_replaced(
    file: File, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """From one remote registry to another and back. Each time, the connections to the old one are closed."""
    with ExitStack() as stack:
        behind = [stack.enter_context(serving(tmp_path_factory.mktemp(name))) for name in ("first", "second")]
        for number, registry in enumerate(behind):
            connection = registry.http()
            connection.request("PUT", "/v2/a/manifests/v1", b"%d" % number, {"Content-Type": "text/plain"})
            assert connection.getresponse().status == 201
        clients = [f'{{ kind = "client", url = "http://127.0.0.1:{registry.port}" }}' for registry in behind]
        file.write(clients[0])
        server = stack.enter_context(file.served())
        asking = [Asking(server, "/v2/a/manifests/v1") for _ in range(6)]
        for each in asking:
            each.start()
        try:
            for number in range(1, RELOADS + 1):
                file.write(clients[number % 2])
                file.reload()
                before = [len(each.answers) for each in asking]
                eventually(
                    lambda before=before: all(  # type: ignore[misc]
                        len(each.answers) > count for each, count in zip(asking, before, strict=True)
                    ),
                    "answers",
                    server.printed,
                )
                assert server.get("/v2/a/manifests/v1") == (200, b"%d" % (number % 2))
        finally:
            for each in asking:
                each.end()
        for each in asking:
            assert each.error is None
            assert set(each.answers) == {(200, b"0"), (200, b"1")}
            # The answers change when the file does, and not back and forth.
            bodies = [body for _, body in each.answers]
            assert sum(one != other for one, other in itertools.pairwise(bodies)) <= RELOADS
        assert "Traceback" not in server.printed()


def test_a_mistake_is_reported_and_changes_nothing(file: File) -> None:
    file.write(read_only(file))
    with file.served() as server:
        file.write('{ kind = "read-onyl" }', options="max-list-page-size = 1")
        file.reload(REFUSED)
        assert f"{file.path}:1: registry.kind: unknown kind; did you mean read-only?" in server.printed()
        assert refuses_pushes(server)
        assert server.get("/v2/_catalog?n=5")[0] == 200
        file.path.unlink()
        file.reload(REFUSED)
        assert refuses_pushes(server)
        file.write(file.store, options="max-list-page-size = 1")
        file.reload()
        assert server.get("/v2/_catalog?n=5")[0] == 400
        push(server, "hello", b"hello")


def test_settings_that_need_a_restart_are_reported(file: File) -> None:
    file.write(file.store, server='port = 5000\nlog-level = "info"\naccess-log = true')
    with file.served() as server:
        store = f'{{ kind = "store", data = "{file.folder}/data", durability = "off", collect-every = "2h" }}'
        file.write(store, server='host = "0.0.0.0"\nworkers = 2\nlog-level = "debug"\naccess-log = false')
        file.reload()
        words = "these settings take effect only after a restart: collect-every, durability, host, log-level, workers"
        assert words in server.printed()
        assert server.get("/v2/unheard/tags/list")[0] == 404
        # The other settings of the file take effect.
        assert "unheard" not in server.printed()
        file.write(f'{{ kind = "store", data = "{file.folder}/other" }}')
        file.reload(REFUSED)
        assert f"the store in {file.folder}/other is not open" in server.printed()
        assert not (file.folder / "other").exists()


def test_contents_in_memory_are_kept(file: File) -> None:
    file.write('{ kind = "memory" }')
    with file.served() as server:
        digest = push(server, "hello", b"hello")
        file.write('{ kind = "sub", prefix = "hello", backend = { kind = "memory" } }')
        file.reload()
        assert server.get(f"/v2/hello/blobs/{digest}")[0] == 404
        file.write('{ kind = "unify", backends = [{ kind = "memory" }, { kind = "memory" }] }')
        file.reload()
        # The second registry is new, and is kept from now on.
        both = push(server, "both", b"both")
        file.write('{ kind = "unify", reads = "concurrent", backends = [{ kind = "memory" }, { kind = "memory" }] }')
        file.reload()
        assert server.get(f"/v2/hello/blobs/{digest}") == (200, b"hello")
        assert server.get(f"/v2/both/blobs/{both}") == (200, b"both")


def test_a_cache_in_memory_starts_empty(file: File, tmp_path_factory: pytest.TempPathFactory) -> None:
    """It records in memory what it has fetched. Without these records, contents would look pushed."""
    with serving(tmp_path_factory.mktemp("upstream")) as upstream:

        def put(content: bytes) -> None:
            connection = upstream.http()
            connection.request("PUT", "/v2/a/manifests/v1", content, {"Content-Type": "text/plain"})
            assert connection.getresponse().status == 201

        put(b"one")
        client = f'{{ kind = "client", url = "http://127.0.0.1:{upstream.port}" }}'
        file.write(f'{{ kind = "cache", tag-lifetime = 0, local = {{ kind = "memory" }}, upstream = {client} }}')
        with file.served() as server:
            assert server.get("/v2/a/manifests/v1") == (200, b"one")
            file.reload()
            put(b"two")
            assert server.get("/v2/a/manifests/v1") == (200, b"two")


def test_both_workers_reload(file: File) -> None:
    file.write(file.store, server="workers = 2")
    with file.served() as server:
        upload = SlowUpload(server)
        file.write('{ kind = "read-onyl" }')
        file.reload(REFUSED)
        file.write(read_only(file), server="workers = 2")
        file.reload()

        def all_refuse() -> bool:
            # Held open, so that not one worker takes them all.
            connections = [server.http() for _ in range(40)]
            for connection in connections:
                connection.request("POST", "/v2/hello/blobs/uploads/")
            statuses = {connection.getresponse().status for connection in connections}
            return statuses == {400}

        eventually(all_refuse, "both to refuse pushes", server.printed)
        assert upload.finish() == b"HTTP/1.1 201 Created\r\n"
        # Only one process reports.
        printed = server.printed()
        assert printed.count(READ) == printed.count(REFUSED) == 1
        server.signal(signal.SIGTERM)
        assert server.exit_status() == 0
        assert set(re.findall(r"id=(\w+)-\d+$", printed, re.MULTILINE)) <= {"ociserver1", "ociserver2"}


def test_a_replacement_worker_does_not_take_over_another_number_of_workers(file: File) -> None:
    metrics = f'address = "127.0.0.1:{free_port()}"'
    file.write(file.store, server="workers = 2", metrics=metrics)
    with file.served() as server:
        file.write(file.store, server="workers = 2000", metrics=metrics)
        before = children(server)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: all(is_gone(pid) for pid in before), "their end", server.printed)
        # The parent's socket keeps the connection until one of the new workers takes it.
        assert server.get("/v2/")[0] == 200


def test_no_two_requests_have_the_same_id(file: File) -> None:
    file.write(file.store, options='debug-id = "mine"')
    with file.served() as server:
        for name in ("mine", "other", "mine"):
            file.write(file.store, options=f'debug-id = "{name}"')
            file.reload()
            server.get("/v2/")
            server.get("/v2/")
        server.signal(signal.SIGTERM)
        assert server.exit_status() == 0
        assert ids(server) == ["mine-1", "mine-2", "other-1", "other-2", "mine-3", "mine-4"]


def test_no_two_requests_of_two_workers_have_the_same_id(file: File) -> None:
    file.write(file.store, server="workers = 2")
    with file.served() as server:
        for _ in range(2):
            # Held open, so that not one worker takes them all.
            connections = [server.http() for _ in range(40)]
            for connection in connections:
                connection.request("GET", "/v2/")
            assert {connection.getresponse().status for connection in connections} == {200}
            file.write(read_only(file), server="workers = 2")
            file.reload()
            eventually(lambda: refuses_pushes(server), "pushes to be refused", server.printed)
        server.signal(signal.SIGTERM)
        assert server.exit_status() == 0
        given = ids(server)
        assert len(given) == len(set(given)) > 80


def test_several_signals_at_once_are_one_reload(file: File) -> None:
    file.write(file.store)
    with file.served() as server:
        file.write(read_only(file))
        for _ in range(20):
            server.signal(signal.SIGHUP)
        eventually(lambda: refuses_pushes(server), "pushes to be refused", server.printed)
        file.reload()
        assert server.printed().count(READ) <= 21
        server.signal(signal.SIGTERM)
        assert server.exit_status() == 0
