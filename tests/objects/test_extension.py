"""`ociserver_objects` against a real store."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import httpx
import pytest

import ociserver
import ociserver_objects
from ociserver.blob_io import Sink
from ociserver_objects import Bucket, Denied, NotFound, ObjectError, PartWriter, Unavailable
from tests.objects.calls import kept, next_of, read, rest_of, result_of
from tests.objects.other_process import PART_SIZE
from tests.objects.readings import READINGS
from tests.support.bucket import Versity, versity
from tests.support.tools import ROOT
from tests.support.toxic import Toxic, toxic

MIB = 1 << 20


def random_bytes(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Versity]:
    with versity(tmp_path_factory.mktemp("store")) as store:
        yield store


@pytest.fixture
def bucket(store: Versity) -> Bucket:
    return Bucket(store.url, store.options())


@pytest.fixture(scope="module")
def network(store: Versity, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toxic]:
    with toxic(store.port, tmp_path_factory.mktemp("network")) as network:
        yield network


@pytest.fixture
def through(store: Versity, network: Toxic) -> Bucket:
    """The bucket behind a bad network, for a caller with little patience."""
    return Bucket(store.url, store.options(network.port), retry_s=2, timeout_s=1)


@pytest.fixture
def key() -> str:
    """A fresh key, because all tests share a bucket."""
    return os.urandom(8).hex()


def nothing() -> None:
    pass


def writer_to(
    bucket: Bucket, algorithm: str = "sha256", *, on_full: Callable[[], object] = nothing, in_flight: int = 2
) -> PartWriter:
    return PartWriter(bucket, algorithm, part_size=PART_SIZE, in_flight=in_flight, on_full=on_full)


def begin(bucket: Bucket, key: str) -> str:
    made: str = result_of(partial(bucket.create_multipart, key))
    return made


def parts_of(bucket: Bucket, key: str, multipart_id: str, *parts: bytes) -> list[str]:
    """Store parts, the last one shorter, and return their ETags."""
    writer = writer_to(bucket)
    writer.begin(key, multipart_id)
    writer.add(b"".join(parts))
    kept(writer)
    return [*writer.etags, result_of(writer.flush_tail)]


# --- objects ----------------------------------------------------------------------------------------


def test_an_object_has_the_bytes_and_the_size_that_were_put(bucket: Bucket, key: str) -> None:
    data = random_bytes(3 * MIB)
    result_of(partial(bucket.put, key, data))
    assert result_of(partial(bucket.size, key)) == len(data)
    assert read(bucket, key, 0, len(data)) == data


def test_a_second_put_replaces_the_object(bucket: Bucket, key: str) -> None:
    result_of(partial(bucket.put, key, b"first"))
    result_of(partial(bucket.put, key, b"second one"))
    assert read(bucket, key, 0, 10) == b"second one"


@pytest.mark.parametrize(
    "start, stop", [(0, 1), (1, 2), (MIB - 1, MIB + 1), (2 * MIB, 3 * MIB), (3 * MIB - 1, 3 * MIB)]
)
def test_a_range_has_exactly_its_bytes(bucket: Bucket, start: int, stop: int) -> None:
    data = random_bytes(3 * MIB)
    result_of(partial(bucket.put, "ranges", data))
    assert read(bucket, "ranges", start, stop) == data[start:stop]


def test_a_range_may_end_behind_the_object_but_not_begin_there(bucket: Bucket, key: str) -> None:
    result_of(partial(bucket.put, key, b"0123456789"))
    assert read(bucket, key, 8, 100) == b"89"
    with pytest.raises(ObjectError, match="read: the store answers 416"):
        read(bucket, key, 10, 11)
    with pytest.raises(ValueError, match="range is empty"):
        bucket.read(key, 5, 5, print)


def test_a_reading_knows_the_size_of_the_whole_object_and_repeats_its_end(bucket: Bucket, key: str) -> None:
    result_of(partial(bucket.put, key, b"0123456789"))
    reading = result_of(partial(bucket.read, key, 2, 5))
    assert reading.size == 10
    assert [next_of(bucket, reading) for _ in range(3)] == [b"234", b"", b""]


def test_pieces_are_neither_small_nor_large(bucket: Bucket, key: str) -> None:
    size = 10 * MIB + 1
    result_of(partial(bucket.put, key, bytes(size)))
    reading = result_of(partial(bucket.read, key, 0, size))
    sizes = []
    while piece := next_of(bucket, reading):
        sizes.append(len(piece))
    assert sum(sizes) == size
    assert all(MIB // 2 <= length <= MIB for length in sizes[:-1]), sizes


def test_missing_is_a_result_and_no_error(bucket: Bucket, key: str) -> None:
    assert result_of(partial(bucket.size, key)) is None
    assert read(bucket, key, 0, 1) is None
    result_of(partial(bucket.delete, [key]))
    result_of(partial(bucket.abort, key, "00000000-0000-0000-0000-000000000000"))


def test_deleted_objects_are_gone_and_others_stay(bucket: Bucket, key: str) -> None:
    keys = [f"{key}-{number}" for number in range(3)]
    for each in keys:
        result_of(partial(bucket.put, each, b"x"))
    before = bucket.requests()["delete"]
    result_of(partial(bucket.delete, [keys[0], f"{key}-missing", keys[2]]))
    assert [result_of(partial(bucket.size, each)) for each in keys] == [None, 1, None]
    assert bucket.requests()["delete"] == before + 1


def test_pages_list_all_keys_in_order(store: Versity, key: str) -> None:
    bucket = Bucket(f"{store.url}/{key}", store.options())
    keys = sorted(f"{number % 7:02x}/{number:04x}" for number in range(25))
    for each in keys:
        result_of(partial(bucket.put, each, each.encode()))
    found: list[tuple[str, int]] = []
    while page := result_of(partial(bucket.list, found[-1][0] if found else "", 10)):
        assert len(page) <= 10
        found += page
    assert found == [(each, len(each)) for each in keys]


def test_a_prefix_hides_other_objects(store: Versity, bucket: Bucket, key: str) -> None:
    inner, other = (Bucket(f"{store.url}/{prefix}", store.options()) for prefix in (key, f"{key}x"))
    result_of(partial(inner.put, "a", b"inner"))
    assert read(bucket, f"{key}/a", 0, 5) == b"inner"
    assert read(other, "a", 0, 5) is None
    assert result_of(partial(other.list, "", 10)) == []


# --- multipart uploads ------------------------------------------------------------------------------


def test_parts_become_an_object(bucket: Bucket, key: str) -> None:
    data = random_bytes(2 * PART_SIZE + 123)
    made = begin(bucket, key)
    etags = parts_of(bucket, key, made, data)
    assert len(etags) == 3
    assert result_of(partial(bucket.size, key)) is None
    result_of(partial(bucket.complete, key, made, etags))
    assert read(bucket, key, 0, len(data)) == data


def test_completed_twice_changes_nothing(bucket: Bucket, key: str) -> None:
    """Stores may accept it, or say that there is no such upload."""
    made = begin(bucket, key)
    etags = parts_of(bucket, key, made, b"all of it")
    result_of(partial(bucket.complete, key, made, etags))
    with suppress(NotFound):
        result_of(partial(bucket.complete, key, made, etags))
    assert read(bucket, key, 0, 9) == b"all of it"


def test_an_aborted_upload_cannot_be_completed(bucket: Bucket, key: str) -> None:
    made = begin(bucket, key)
    etags = parts_of(bucket, key, made, b"all of it")
    result_of(partial(bucket.abort, key, made))
    with pytest.raises(NotFound, match=r"^complete: it does not exist \(404 NoSuchUpload\)$"):
        result_of(partial(bucket.complete, key, made, etags))


def test_the_etag_of_a_part_that_was_replaced_does_not_complete(bucket: Bucket, key: str) -> None:
    """A stray writer cannot change content unnoticed."""
    made = begin(bucket, key)
    old = parts_of(bucket, key, made, b"recorded")
    new = parts_of(bucket, key, made, b"of a stray writer")
    with pytest.raises(ObjectError, match="complete: the store answers 400 InvalidPart"):
        result_of(partial(bucket.complete, key, made, old))
    result_of(partial(bucket.complete, key, made, new))


@pytest.mark.parametrize("algorithm", ["sha256", "crc64nvme"])
def test_the_store_checks_each_part(store: Versity, key: str, algorithm: str) -> None:
    bucket = Bucket(store.url, store.options() | {"checksum_algorithm": algorithm})
    data = random_bytes(PART_SIZE + 5)
    made = begin(bucket, key)
    etags = parts_of(bucket, key, made, data)
    result_of(partial(bucket.complete, key, made, etags))
    assert read(bucket, key, 0, len(data)) == data


def test_another_process_continues(store: Versity, bucket: Bucket, key: str) -> None:
    data = random_bytes(3 * PART_SIZE + 17)
    here, there = data[: PART_SIZE + 1000], data[PART_SIZE + 1000 :]
    made = begin(bucket, key)
    writer = writer_to(bucket)
    writer.begin(key, made)
    writer.add(here)
    kept(writer)
    given = {
        "url": store.url,
        "options": store.options(),
        "key": key,
        "multipart_id": made,
        "etags": writer.etags,
        "state": base64.b64encode(writer.save()).decode(),
        "tail": base64.b64encode(writer.tail()).decode(),
        "add": base64.b64encode(there).decode(),
    }
    command = [sys.executable, "-m", "tests.objects.other_process"]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"digest": digest_of(data), "length": len(data)}
    assert read(bucket, key, 0, len(data)) == data


# --- PartWriter -------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_the_digest_is_that_of_all_bytes(bucket: Bucket, algorithm: str) -> None:
    data = random_bytes(200_000)
    writer = writer_to(bucket, algorithm=algorithm)
    for start in range(0, len(data), 777):
        writer.add(data[start : start + 777])
    assert writer.digest() == f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
    assert (writer.length, writer.tail()) == (len(data), data)


def test_the_first_full_part_asks_once_and_waits_for_begin(bucket: Bucket, key: str) -> None:
    asked: list[int] = []
    writer = writer_to(bucket, on_full=lambda: asked.append(threading.get_ident()))
    assert writer.add(bytes(PART_SIZE - 1)) == 0
    assert asked == []
    assert writer.add(b"x") == PART_SIZE
    assert writer.add(bytes(PART_SIZE)) == 2 * PART_SIZE
    assert asked == [threading.get_ident()]
    made = begin(bucket, key)
    writer.begin(key, made)
    kept(writer)
    assert len(writer.etags) == 2
    assert bucket.requests()["put_part"] >= 2


def test_a_tail_is_stored_as_a_part_and_as_an_object(bucket: Bucket, key: str) -> None:
    """And a longer part of the same number replaces it."""
    data = random_bytes(PART_SIZE + 5000)
    made = begin(bucket, key)
    writer = writer_to(bucket)
    writer.begin(key, made)
    writer.add(data[: PART_SIZE + 1000])
    kept(writer)
    result_of(writer.flush_tail)
    result_of(partial(writer.put_tail, f"{key}.tail"))
    assert read(bucket, f"{key}.tail", 0, 1000) == writer.tail() == data[PART_SIZE : PART_SIZE + 1000]
    writer.add(data[PART_SIZE + 1000 :])
    etag = result_of(writer.flush_tail)
    result_of(partial(bucket.complete, key, made, [*writer.etags, etag]))
    assert read(bucket, key, 0, len(data)) == data


def test_a_tail_needs_an_upload(bucket: Bucket) -> None:
    writer = writer_to(bucket)
    writer.add(b"x")
    with pytest.raises(ObjectError, match="no multipart upload was begun"):
        result_of(writer.flush_tail)


def test_a_writer_is_a_sink(bucket: Bucket) -> None:
    sink: Sink = writer_to(bucket)
    assert sink.add(b"x") == sink.high_water_mark == 0


def test_a_state_that_does_not_fit_is_refused(bucket: Bucket, key: str) -> None:
    writer = writer_to(bucket)
    writer.add(b"12345")
    known: dict[str, Any] = {"key": None, "multipart_id": None, "etags": [], "tail": b"12345"}
    rest: dict[str, Any] = {"part_size": PART_SIZE, "in_flight": 2, "on_full": print}
    assert PartWriter.resume(bucket, writer.save(), **known, **rest).digest() == digest_of(b"12345")
    refused: list[tuple[dict[str, Any], str]] = [
        ({"tail": b"1234"}, "length"),
        ({"etags": ["a"]}, "no multipart upload"),
        ({"etags": ["a"], "key": key, "multipart_id": "b"}, "length"),
        ({"key": key}, "belong together"),
    ]
    for change, message in refused:
        with pytest.raises(ValueError, match=message):
            PartWriter.resume(bucket, writer.save(), **known | change, **rest)
    with pytest.raises(ValueError, match="state"):
        PartWriter.resume(bucket, writer.save()[:-1], **known, **rest)


def test_no_more_parts_are_held_than_allowed(network: Toxic, through: Bucket, key: str) -> None:
    """While the store hangs: two parts in flight, and one that waits."""
    made = begin(through, key)
    writer = writer_to(through, in_flight=2)
    writer.begin(key, made)
    left = threading.Event()
    with network.hanging(direction="upstream"):
        assert [writer.add(bytes(PART_SIZE)) for _ in range(3)] == [0, 0, PART_SIZE]
        writer.when_left(writer.high_water_mark // 2, left.set)
        assert not left.wait(0.2)
    assert left.wait(30)
    kept(writer)
    assert len(writer.etags) == 3


@pytest.mark.alone
def test_memory_is_bounded_by_parts_in_flight(store: Versity, bucket: Bucket, key: str) -> None:
    given = {"url": store.url, "options": store.options(), "key": key, "multipart_id": begin(bucket, key)}
    command = [sys.executable, "-m", "tests.objects.memory"]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    grown = int(done.stdout)
    # Three parts of 8 MiB in flight and one that is filled; the rest is TLS, buffers and the allocator.
    assert grown < 4 * 8 * MIB + 16 * MIB, f"{grown / MIB:.0f} MiB"


def test_a_reading_that_nobody_takes_from_holds_back_the_store(store: Versity, bucket: Bucket, key: str) -> None:
    size = 32 * MIB
    result_of(partial(bucket.put, key, bytes(size)))
    given = {"url": store.url, "options": store.options(), "key": key, "size": size}
    command = [sys.executable, "-m", "tests.objects.readings"]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    grown = int(done.stdout)
    # Each has a piece of at most 1 MiB, and what the HTTP client holds; all of them would be 256 MiB.
    assert grown < READINGS * 2 * MIB + 16 * MIB, f"{grown / MIB:.0f} MiB"


def test_an_error_of_a_part_loses_all_and_is_raised_once(bucket: Bucket, key: str) -> None:
    writer = writer_to(bucket)
    writer.begin(key, "00000000-0000-0000-0000-000000000000")
    writer.add(bytes(PART_SIZE))
    with pytest.raises(NotFound, match="put_part: it does not exist"):
        kept(writer)
    writer.check()
    assert writer.add(b"more") is None


def test_a_closed_writer_takes_no_more_and_calls_back(bucket: Bucket) -> None:
    writer = writer_to(bucket)
    writer.add(bytes(2 * PART_SIZE))
    called = threading.Event()
    writer.when_kept(called.set)
    assert not called.wait(0.05)
    writer.close()
    assert called.wait(10)
    assert writer.add(b"x") is None


# --- signed URLs ------------------------------------------------------------------------------------


def test_a_signed_url_works_for_anybody_and_sets_headers(bucket: Bucket, key: str) -> None:
    result_of(partial(bucket.put, key, b"signed"))
    before = sum(bucket.requests().values())
    url = result_of(partial(bucket.sign, key, 60, {"response-content-type": "application/x-of-the-query"}))
    assert sum(bucket.requests().values()) == before
    answer = httpx.get(url)
    assert (answer.status_code, answer.content) == (200, b"signed")
    assert answer.headers["Content-Type"] == "application/x-of-the-query"
    answer = httpx.get(url, headers={"Range": "bytes=2-3"})
    assert (answer.status_code, answer.content) == (206, b"gn")


def test_a_url_is_signed_for_the_public_endpoint(store: Versity, key: str) -> None:
    """The signature covers the host, so the host cannot just be replaced."""
    public = f"http://localhost:{store.port}"
    bucket = Bucket(store.url, store.options(), public_endpoint=public)
    result_of(partial(bucket.put, key, b"public"))
    url = result_of(partial(bucket.sign, key, 60, {}))
    assert url.startswith(f"{public}/")
    assert httpx.get(url).content == b"public"
    assert httpx.get(url.replace("localhost", "127.0.0.1")).status_code == 403


def test_a_changed_url_is_refused(bucket: Bucket, key: str) -> None:
    result_of(partial(bucket.put, key, b"signed"))
    url = result_of(partial(bucket.sign, key, 60, {"response-content-type": "a/b"}))
    assert httpx.get(url).status_code == 200
    assert httpx.get(url.replace("a%2Fb", "a%2Fc")).status_code == 403


# --- errors -----------------------------------------------------------------------------------------


def test_wrong_credentials_are_denied_without_a_secret_in_the_message(store: Versity, key: str) -> None:
    bucket = Bucket(store.url, store.options() | {"aws_secret_access_key": "a-wrong-secret-key"})
    for ask in [
        partial(bucket.put, key, b"x"),
        partial(bucket.size, key),
        partial(bucket.read, key, 0, 1),
        partial(bucket.create_multipart, key),
        partial(bucket.list, "", 1),
    ]:
        with pytest.raises(Denied) as caught:
            result_of(ask)
        message = str(caught.value)
        assert "403" in message
        for hidden in ("a-wrong-secret-key", store.access_key, key, "Signature=", "http"):
            assert hidden not in message


def test_a_store_that_is_away_is_unavailable_within_the_time(store: Versity, key: str) -> None:
    bucket = Bucket(store.url, store.options(port=9), retry_s=1, timeout_s=1)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="put: cannot connect to the store: Connection refused"):
        result_of(partial(bucket.put, key, b"x"))
    assert 0.5 < time.monotonic() - began < 5
    assert bucket.requests()["put"] > 1


def test_a_store_that_does_not_answer_is_unavailable_within_the_time(network: Toxic, through: Bucket, key: str) -> None:
    began = time.monotonic()
    with network.hanging(), pytest.raises(Unavailable, match="size: the store does not answer in time"):
        result_of(partial(through.size, key))
    assert time.monotonic() - began < 8


def test_a_missing_bucket_is_not_a_missing_object(store: Versity, key: str) -> None:
    bucket = Bucket("s3://no-such-bucket", store.options())
    for ask in [
        partial(bucket.put, key, b"x"),
        partial(bucket.size, key),
        partial(bucket.read, key, 0, 1),
        partial(bucket.list, "", 1),
    ]:
        with pytest.raises(ObjectError, match="the bucket does not exist") as caught:
            result_of(ask)
        assert type(caught.value) is ObjectError


@pytest.mark.parametrize(
    "url, options, message",
    [
        ("bucket", {}, "URL"),
        ("ftp://bucket", {}, "s3://, gs:// or az://"),
        ("s3://bucket", {"no_such_option": "value-1"}, "no_such_option"),
        ("s3://bucket", {"virtual_hosted_style_request": "value-1"}, "option"),
    ],
)
def test_settings_that_cannot_be_used_are_named(url: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Bucket(url, options)
    assert "value-1" not in str(caught.value)


def test_a_cut_connection_goes_on(network: Toxic, bucket: Bucket, through: Bucket, key: str) -> None:
    data = random_bytes(8 * MIB)
    result_of(partial(bucket.put, key, data))
    with network.cut(3 * MIB):
        assert read(through, key, 0, len(data)) == data
    assert through.requests()["read"] == 3


def test_a_reading_that_gets_nothing_more_ends_with_an_error(
    network: Toxic, bucket: Bucket, through: Bucket, key: str
) -> None:
    result_of(partial(bucket.put, key, bytes(32 * MIB)))
    reading = result_of(partial(through.read, key, 0, 32 * MIB))
    began = time.monotonic()
    with network.down(), pytest.raises(Unavailable, match="read: cannot connect"):
        rest_of(through, reading)
    assert time.monotonic() - began < 10
    with pytest.raises(Unavailable, match="read: cannot connect"):
        next_of(through, reading)


def test_the_rest_of_another_object_is_not_taken(network: Toxic, bucket: Bucket, through: Bucket, key: str) -> None:
    """It would make a content that never was."""
    result_of(partial(bucket.put, key, bytes(32 * MIB)))
    reading = result_of(partial(through.read, key, 0, 32 * MIB))
    with network.down():
        result_of(partial(bucket.put, key, b"1" * (32 * MIB)))
    with pytest.raises(ObjectError, match="read: the store answers 412"):
        rest_of(through, reading)


def test_each_waiter_is_told_once(network: Toxic, bucket: Bucket, through: Bucket, key: str) -> None:
    result_of(partial(bucket.put, key, bytes(MIB)))
    with network.bandwidth(100_000):
        readings = [result_of(partial(through.read, key, 0, MIB)) for _ in range(3)]
        assert [reading.take(number) for number, reading in enumerate(readings)] == [None, None, None]
        assert not select.select([through], [], [], 0)[0]
        for reading in readings:
            reading.close()
        told: list[int] = []
        while len(told) < len(readings) and select.select([through], [], [], 10)[0]:
            told += through.arrived()
    assert sorted(told) == [0, 1, 2]
    assert not select.select([through], [], [], 0)[0]
    assert through.arrived() == []


def test_a_closed_reading_ends_with_an_error(bucket: Bucket, key: str) -> None:
    result_of(partial(bucket.put, key, bytes(32 * MIB)))
    reading = result_of(partial(bucket.read, key, 0, 32 * MIB))
    reading.close()
    with pytest.raises(ObjectError, match="read: it was closed"):
        rest_of(bucket, reading)


# --- settings ---------------------------------------------------------------------------------------


def test_credentials_come_from_the_environment(store: Versity, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in store.environment().items():
        monkeypatch.setenv(name, value)
    bucket = Bucket(store.url, {"endpoint": store.options()["aws_endpoint"]})
    result_of(partial(bucket.put, key, b"x"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-wrong-secret-key")
    with pytest.raises(Denied):
        result_of(partial(Bucket(store.url, {"endpoint": store.options()["aws_endpoint"]}).size, key))
    assert result_of(partial(Bucket(store.url, store.options()).size, key)) == 1, "options override the environment"


def test_a_fork_needs_a_bucket_of_its_own(store: Versity, key: str) -> None:
    """The threads do not survive a fork, so without an error a call would wait forever."""
    given = json.dumps({"url": store.url, "options": store.options(), "key": key})
    command = [sys.executable, "-W", "ignore", "-m", "tests.objects.forked"]
    done = subprocess.run(command, input=given, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "opened before a fork; None\n"), done.stderr


# --- the module -------------------------------------------------------------------------------------


def test_the_exceptions_form_a_tree() -> None:
    assert ObjectError.__bases__ == (Exception,)
    assert {NotFound.__base__, Denied.__base__, Unavailable.__base__} == {ObjectError}
    assert NotFound.__module__ == "ociserver_objects"


def test_ociserver_does_not_import_it() -> None:
    code = "import sys, ociserver, ociserver.cli; sys.exit('ociserver_objects' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_version_is_that_of_ociserver() -> None:
    assert ociserver_objects.__version__ == ociserver.__version__
