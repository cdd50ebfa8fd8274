"""That the object stores, counters and bad networks of the tests do what their names say."""

from __future__ import annotations

import io
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from minio import Minio
from urllib3 import PoolManager, request
from urllib3.exceptions import HTTPError

from tests.support.bucket import BUCKET, REGION, Multipart, Versity, versity
from tests.support.counted import Request, counted
from tests.support.toxic import Toxic, toxic

MIB = 1 << 20


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Versity]:
    with versity(tmp_path_factory.mktemp("versity")) as store:
        yield store


@pytest.fixture
def bad(shared: Versity, tmp_path: Path) -> Iterator[Toxic]:
    """A proxy in front of the store that has an object of 1 MiB under `large`."""
    put(shared, "large", bytes(MIB))
    with toxic(shared.port, tmp_path) as proxy:
        yield proxy


def client(store: Versity, port: int | None = None) -> Minio:
    """A client that is not ours, and that does not try again."""
    address = f"127.0.0.1:{port or store.port}"
    pool = PoolManager(retries=False, timeout=10)
    return Minio(address, store.access_key, store.secret_key, secure=False, region=REGION, http_client=pool)


def put(store: Versity, key: str, content: bytes, port: int | None = None) -> None:
    client(store, port).put_object(BUCKET, key, io.BytesIO(content), len(content))


def get(store: Versity, key: str, port: int | None = None) -> bytes:
    answer = client(store, port).get_object(BUCKET, key)
    try:
        return answer.read()
    finally:
        answer.close()


def begin(store: Versity, key: str, port: int | None = None) -> str:
    """Begin a multipart upload, and store one part of 5 MiB."""
    through = client(store, port)
    upload = through._create_multipart_upload(BUCKET, key, {})
    through._upload_part(BUCKET, key, bytes(5 * MIB), None, upload, 1)
    return upload


@contextmanager
def takes(least_s: float) -> Iterator[None]:
    """There is no upper bound, because the machine may be busy."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began >= least_s


def test_a_bucket_tells_what_is_in_it(bucket: Versity) -> None:
    assert (bucket.objects(), bucket.uploads()) == ({}, [])
    put(bucket, "some/where/key", b"content")
    upload = begin(bucket, "some/large")
    assert bucket.objects() == {"some/where/key": 7}
    assert bucket.uploads() == [Multipart("some/large", upload, {1: 5 * MIB})]
    assert bucket.path("some/where/key").read_bytes() == b"content"
    client(bucket)._abort_multipart_upload(BUCKET, "some/large", upload)
    assert bucket.uploads() == []


def test_a_bucket_asks_for_credentials(shared: Versity) -> None:
    put(shared, "key", b"content")
    assert request("GET", f"http://127.0.0.1:{shared.port}/{BUCKET}/key").status == 403
    assert request("GET", client(shared).presigned_get_object(BUCKET, "key")).data == b"content"


def test_what_is_deleted_or_truncated_unnoticed_is_gone(shared: Versity) -> None:
    put(shared, "gone", b"content")
    put(shared, "short", b"content")
    shared.delete("gone")
    shared.truncate("short", 3)
    with pytest.raises(Exception, match="NoSuchKey"):
        get(shared, "gone")
    assert get(shared, "short") == b"con"
    assert shared.objects()["short"] == 3


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_store_starts_again_on_its_port_with_its_contents(bucket: Versity, end: str) -> None:
    put(bucket, "key", b"content")
    getattr(bucket.process, end)()
    with pytest.raises(HTTPError):
        get(bucket, "key")
    bucket.process.start()
    assert get(bucket, "key") == b"content"


def test_requests_are_counted(shared: Versity, tmp_path: Path) -> None:
    with counted(shared.port, tmp_path) as proxy:
        assert proxy.requests() == []
        put(shared, "a b", b"content", proxy.port)
        with pytest.raises(Exception, match="NoSuchKey"):
            get(shared, "missing", proxy.port)
        assert proxy.requests() == [
            Request("PUT", f"/{BUCKET}/a b", {}, 200),
            Request("GET", f"/{BUCKET}/missing", {}, 404),
        ]
        proxy.clear()
        upload = begin(shared, "large", proxy.port)
        client(shared, proxy.port)._abort_multipart_upload(BUCKET, "large", upload)
        assert proxy.operations() == Counter({"create multipart": 1, "put part": 1, "abort multipart": 1})
        assert proxy.requests()[1].query == {"partNumber": "1", "uploadId": upload}


def test_a_request_that_the_store_does_not_answer_is_counted(bucket: Versity, tmp_path: Path) -> None:
    with counted(bucket.port, tmp_path) as proxy:
        bucket.process.kill()
        with pytest.raises(Exception, match="502"):
            get(bucket, "key", proxy.port)
        assert [request.status for request in proxy.requests()] == [502]


def test_a_slow_network(shared: Versity, bad: Toxic) -> None:
    with bad.latency(0.3), takes(0.3):
        get(shared, "large", bad.port)
    with bad.bandwidth(4 * MIB), takes(0.15):
        get(shared, "large", bad.port)


def test_a_cut_connection(shared: Versity, bad: Toxic) -> None:
    with bad.cut(MIB // 2), pytest.raises(HTTPError, match="IncompleteRead"):
        get(shared, "large", bad.port)
    with bad.reset(), pytest.raises(HTTPError, match="reset by peer"):
        get(shared, "large", bad.port)
    assert get(shared, "large", bad.port) == bytes(MIB)


def test_a_server_that_is_down_or_hangs(shared: Versity, bad: Toxic) -> None:
    url = client(shared, bad.port).presigned_get_object(BUCKET, "large")
    with bad.down(), pytest.raises(HTTPError, match="refused"):
        request("GET", url, retries=False)
    with bad.hanging(), pytest.raises(HTTPError, match="timed out"):
        request("GET", url, retries=False, timeout=0.3)
    assert get(shared, "large", bad.port) == bytes(MIB)


def test_a_slow_close(bad: Toxic) -> None:
    with bad.slow_close(0.4), socket.create_connection(("127.0.0.1", bad.port), 10) as connection, takes(0.4):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: store\r\nConnection: close\r\n\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 403")
        assert connection.recv(1) == b""
