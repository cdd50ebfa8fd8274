"""A disk without a free byte: pushes are refused, and nothing else."""

from __future__ import annotations

import os
import sqlite3
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ociserver.store.disk_reserve import SIZE, SLICE
from ociserver.store.room import CHECK_S, MARGIN
from ociserver.units import format_size
from tests.cli.process import eventually
from tests.faults.disk import Disk, small_disk
from tests.faults.registry import HALF, LARGE, SMALL, Registry, digest_of, error_of, image, ociserver
from tests.faults.test_slow_clients import connect
from tests.support.http import send, with_query
from tests.support.server import serve

COLLECT = ("collect", "--grace", "0s", "--unreferenced-after", "0s")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture
def registry(disk: Disk, tmp_path: Path) -> Iterator[Registry]:
    with serve(["--data", str(disk.data)], tmp_path) as server:
        registry = Registry(server)
        registry.seed()
        yield registry


def test_pushes_are_refused_and_reads_go_on(disk: Disk, registry: Registry) -> None:
    disk.fill()
    for what, answer in registry.pushes().items():
        assert (what, answer.status) == (what, 507)
        assert "disk is full: free some space, or delete images and run `ociserver collect`" in error_of(answer)
    registry.assert_reads()
    registry.wait_for_log("error .*: POST .*: the registry's disk is full: free some space")
    assert "nothing is wrong" in ociserver("check", "--content", "--data", disk.data)


def test_room_that_comes_back_is_used(disk: Disk, registry: Registry) -> None:
    """Without a restart, and the upload goes on from where it was."""
    disk.fill()
    assert registry.append(HALF, len(LARGE)).status == 507
    disk.make_room()
    assert send(registry.server, "GET", registry.upload).headers["Range"] == f"0-{HALF - 1}"
    assert registry.append(HALF, len(LARGE)).status == 202
    assert send(registry.server, "PUT", with_query(registry.upload, f"digest={digest_of(LARGE)}")).status == 201
    assert registry.push(os.urandom(300_000)).status == 201
    assert registry.push_manifest("two", image(LARGE)).status == 201
    registry.assert_reads()


def test_deleting_and_collecting_make_room(disk: Disk, registry: Registry) -> None:
    disk.fill()
    assert registry.push(os.urandom(150_000)).status == 507
    assert registry.blob(LARGE, "DELETE").status == 202
    assert send(registry.server, "DELETE", registry.upload).status == 204
    assert "195.3 KiB freed" in ociserver(*COLLECT, "--data", disk.data)
    assert registry.push(os.urandom(150_000)).status == 201
    assert registry.ask("DELETE", "manifests/one").status == 202
    assert "nothing is wrong" in ociserver("check", "--content", "--data", disk.data)
    assert registry.blob(SMALL).body == SMALL


def test_collecting_without_a_server(disk: Disk, tmp_path: Path) -> None:
    """Opening the folder takes room too."""
    with serve(["--data", str(disk.data)], tmp_path) as server:
        registry = Registry(server)
        registry.seed()
        registry.blob(LARGE, "DELETE")
    disk.fill()
    assert "195.3 KiB freed" in ociserver(*COLLECT, "--data", disk.data)
    with serve(["--data", str(disk.data)], tmp_path) as server:
        assert Registry(server).blob(SMALL).body == SMALL


@pytest.mark.parametrize("missing", [SLICE, SIZE])
def test_pushes_wait_for_the_reserve(disk: Disk, registry: Registry, missing: int) -> None:
    """Freed space refills the reserve first, whatever has freed it. Then pushes are accepted."""
    reserve = disk.data / "registry.reserve"
    assert reserve.stat().st_blocks * 512 == reserve.stat().st_size == SIZE
    os.truncate(reserve, SIZE - missing)
    # So that what it lacks is there, and hardly more.
    disk.fill(leave=missing + MARGIN // 2)
    time.sleep(2 * CHECK_S)
    for answer in registry.pushes().values():
        assert answer.status == 507
    assert registry.blob(SMALL, "DELETE").status == 202
    eventually(lambda: reserve.stat().st_size == SIZE, "the reserve", registry.server.log_tail)
    assert registry.push(os.urandom(1000)).status == 201
    os.truncate(reserve, SIZE - missing)
    disk.make_room()
    time.sleep(2 * CHECK_S)
    assert registry.push(os.urandom(1000)).status == 201
    assert reserve.stat().st_size == SIZE


@pytest.mark.parametrize("acknowledged", [0, HALF])
def test_a_body_under_way_is_asked_again(disk: Disk, registry: Registry, acknowledged: int) -> None:
    """And what it has brought is given back; what was acknowledged before stays."""
    location = registry.upload if acknowledged else registry.start().headers["Location"]
    upload_id = b64decode(location.rpartition("/")[2] + "==").decode()
    file = disk.data / "blobs" / upload_id[:2] / upload_id
    first, pieces = os.urandom(300_000), [os.urandom(10_000)] * 20
    with connect(registry.server) as client:
        stop = acknowledged + len(first) + len(b"".join(pieces))
        headers = f"Host: a\r\nContent-Length: {stop - acknowledged}\r\nContent-Range: {acknowledged}-{stop - 1}"
        client.sendall(f"PATCH {urlsplit(location).path} HTTP/1.1\r\n{headers}\r\n\r\n".encode() + first)
        eventually(lambda: file.exists() and file.stat().st_size > acknowledged, "bytes", registry.server.log_tail)
        os.truncate(disk.data / "registry.reserve", SIZE - SLICE)
        disk.fill()
        for piece in pieces:
            client.sendall(piece)
            time.sleep(2 * CHECK_S)
        assert client.recv(12) == b"HTTP/1.1 507"
    assert file.stat().st_size == acknowledged
    disk.make_room()
    assert send(registry.server, "GET", location).headers["Range"] == f"0-{max(acknowledged - 1, 0)}"
    assert registry.append(HALF, len(LARGE)).status == 202


def test_a_push_that_does_not_fit_leaves_nothing(disk: Disk, registry: Registry) -> None:
    """In one request or in chunks: the room that it had taken is there again."""
    disk.fill(leave=2_000_000)
    before = disk.left()
    content = os.urandom(4_000_000)
    assert registry.push(content).status == 507
    location = registry.start().headers["Location"]
    assert send(registry.server, "PATCH", location, content).status == 507
    assert send(registry.server, "PUT", with_query(location, f"digest={digest_of(content)}"), content).status == 507
    assert send(registry.server, "GET", location).headers["Range"] == "0-0"
    assert disk.left() > before - 100_000
    with closing(sqlite3.connect(disk.data / "registry.db")) as database:
        assert database.execute("SELECT COUNT(*) FROM uploads").fetchone() == (2,), "the one, and that of `seed`"


def test_a_start_with_a_reserve_that_is_not_whole(disk: Disk, tmp_path: Path) -> None:
    """As a server leaves it that was killed on a full disk: deleting and collecting work, then pushes."""
    with serve(["--data", str(disk.data)], tmp_path) as server:
        Registry(server).seed()
    os.truncate(disk.data / "registry.reserve", 2 * SLICE)
    disk.fill()
    with serve(["--data", str(disk.data)], tmp_path) as server:
        registry = Registry(server)
        assert registry.push(os.urandom(1000)).status == 507
        assert registry.blob(LARGE, "DELETE").status == 202
        assert "195.3 KiB freed" in ociserver(*COLLECT, "--data", disk.data)
        assert registry.push(os.urandom(1000)).status == 507
        disk.make_room()
        assert registry.push(os.urandom(1000)).status == 201


@pytest.mark.parametrize("reference", ["digest", "tag"])
def test_the_advice_frees_the_bytes_of_an_image(disk: Disk, registry: Registry, reference: str) -> None:
    """DELETE, then collect with no patience. A tag's manifest stays without it, until untagged ones are to go."""
    layer = os.urandom(300_000)
    assert registry.push(layer).status == 201
    assert registry.push_manifest("latest", image(layer)).status == 201
    disk.fill()
    assert registry.push(os.urandom(1000)).status == 507
    name = "latest" if reference == "tag" else digest_of(image(layer))
    assert registry.ask("DELETE", f"manifests/{name}").status == 202
    more = ("--delete-untagged-after", "0s") if reference == "tag" else ()
    said = ociserver(*COLLECT, *more, "--data", disk.data)
    # The blob that no manifest references goes too.
    assert f"{format_size(len(layer) + len(LARGE))} freed" in said
    assert registry.push(layer).status == 201
    registry.ask("GET", "manifests/one")


def test_what_was_acknowledged_is_there(disk: Disk, tmp_path: Path) -> None:
    """The disk fills up by pushes alone, to the last one that fits; the next server has all of them."""
    pushed = []
    with serve(["--data", str(disk.data)], tmp_path) as server:
        registry = Registry(server)
        for number in range(10_000):
            content = os.urandom(400_000 if number % 4 else 5000)
            status = registry.push(content).status
            assert status in (201, 507)
            if status == 507:
                break
            pushed.append(content)
        assert status == 507
        for _ in range(20):
            # Some room may come back: what the database's log took.
            content = os.urandom(400_000)
            if registry.push(content).status == 201:
                pushed.append(content)
    with serve(["--data", str(disk.data)], tmp_path) as server:
        for content in pushed:
            assert Registry(server).blob(content).body == content
