"""Reads while another client overwrites and deletes tags: no answer is older than the last acknowledged write."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.contract.contents import REPOSITORY
from tests.support.server import Server, serve

TAGS = 4
READERS = 3
SECONDS = 3


class Tag:
    """A tag whose manifests are increasing numbers. Before every tenth push it is deleted."""

    def __init__(self, name: str) -> None:
        self.path = f"/v2/{REPOSITORY}/manifests/{name}"
        self.acknowledged = -1


def ask(connection: HTTPConnection, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection.request(method, path, body, {"content-type": "application/vnd.example"} if body else {})
    answer = connection.getresponse()
    return answer.status, answer.read()


def run(server: Server, work: Callable[[HTTPConnection, Any], None], what: Any) -> None:
    with closing(HTTPConnection(server.host, server.port, timeout=20)) as connection:
        work(connection, what)


@pytest.mark.parametrize("workers", [1, 2])
def test_none_is_stale(tmp_path: Path, workers: int) -> None:
    tags = [Tag(f"v{number}") for number in range(TAGS)]
    stop, failures, answered = threading.Event(), list[str](), [0] * READERS

    def write(connection: HTTPConnection, tag: Tag) -> None:
        while not stop.is_set():
            number = tag.acknowledged + 1
            if number % 10 == 9:
                status, _ = ask(connection, "DELETE", tag.path)
                assert status == 202
                status, body = ask(connection, "GET", tag.path)
                if status != 404:
                    failures.append(f"{tag.path} after it was deleted: {status} {body!r}")
            status, _ = ask(connection, "PUT", tag.path, b"%d" % number)
            assert status == 201
            tag.acknowledged = number
            if ask(connection, "GET", tag.path) != (200, b"%d" % number):
                failures.append(f"{tag.path} after {number} was pushed")

    def read(connection: HTTPConnection, reader: int) -> None:
        last = dict.fromkeys(tags, -1)
        while not stop.is_set():
            for tag in tags:
                least = max(last[tag], tag.acknowledged)
                status, body = ask(connection, "GET", tag.path)
                if status == 404:
                    continue  # only the client that deletes it knows whether it may be missing
                last[tag] = int(body)
                if last[tag] < least:
                    failures.append(f"{tag.path}: {last[tag]} after {least}")
                answered[reader] += 1

    with serve(["--data", str(tmp_path / "data"), "--workers", str(workers), "--no-access-log"], tmp_path) as server:
        threads = [threading.Thread(target=run, args=(server, write, tag)) for tag in tags]
        threads += [threading.Thread(target=run, args=(server, read, reader)) for reader in range(READERS)]
        for thread in threads:
            thread.start()
        time.sleep(SECONDS)
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert min(tag.acknowledged for tag in tags) > 20
    assert min(answered) > 100
