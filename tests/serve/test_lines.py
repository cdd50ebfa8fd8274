"""The writer of log lines: in order, bounded, and never blocking its callers."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from ociserver import Event
from ociserver._core import LineWriter

MAX_LINES, RESERVE = LineWriter.MAX_LINES, LineWriter.RESERVE


class Pipe:
    """A pipe that the test reads."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self._open = {self.reading, self.writing}

    def close(self, *descriptors: int) -> None:
        """Close these descriptors, or all that are still open."""
        for descriptor in descriptors or tuple(self._open):
            self._open.remove(descriptor)
            os.close(descriptor)

    def read(self) -> bytes:
        """Read what is in the pipe now."""
        data = b""
        while select.select([self.reading], [], [], 0)[0]:
            piece = os.read(self.reading, 1 << 16)
            if not piece:
                break
            data += piece
        return data

    def read_lines(self, count: int) -> list[str]:
        """Read until this many lines have arrived."""
        data = b""
        while data.count(b"\n") < count:
            data += os.read(self.reading, 1 << 16)
        return data.decode().splitlines()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def writer(descriptor: int) -> LineWriter:
    return LineWriter(descriptor, "text")


def dropped(line: str) -> int:
    """The number of missing lines that this line reports."""
    found = re.fullmatch(
        r"\S+Z warning (\d+) log lines were dropped: the log cannot be written as fast as requests come in", line
    )
    return int(found[1]) if found else 0


def test_lines_are_in_order_and_complete_at_the_end(pipe: Pipe) -> None:
    log = writer(pipe.writing)
    for number in range(1000):
        log.put(str(number))
    log.close(5)
    assert pipe.read() == "".join(f"{number}\n" for number in range(1000)).encode()


def test_a_single_line_does_not_wait_for_others(pipe: Pipe) -> None:
    log = writer(pipe.writing)
    for text in ("first", "second"):
        log.put(text)
        assert pipe.read_lines(1) == [text]
    log.close(5)


def test_no_line_is_left_behind_whatever_the_timing(pipe: Pipe) -> None:
    """Callers meet the writer at every point of its loop. The last line of a round must arrive without another call."""
    log = writer(pipe.writing)
    for number in range(60):
        time.sleep((number % 7) / 300)
        threads = [threading.Thread(target=log.put, args=(f"{number}",)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert pipe.read_lines(3) == [f"{number}"] * 3
    log.close(5)


def test_the_queue_is_bounded_and_says_what_it_dropped(pipe: Pipe) -> None:
    log = writer(pipe.writing)
    line = "x" * 999
    # The writer blocks on the full pipe and holds some lines. The queue takes MAX_LINES more.
    log.put(line)
    time.sleep(0.2)
    total = MAX_LINES + 5000
    for _ in range(total):
        log.put(line)
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(_until_end(pipe)))
    reader.start()
    log.close(30)
    pipe.close(pipe.writing)
    reader.join()
    lost = sum(map(dropped, lines))
    written = sum(1 for text in lines if text == line)
    assert 0 < lost <= 5000
    assert written + lost == total + 1


def _until_end(pipe: Pipe) -> list[str]:
    with os.fdopen(os.dup(pipe.reading), "rb") as file:
        return file.read().decode().splitlines()


def test_important_lines_have_space_when_others_do_not(pipe: Pipe) -> None:
    log = writer(pipe.writing)
    line = "x" * 999
    for _ in range(MAX_LINES + 5000):
        log.put(line)
    for number in range(RESERVE // 2):
        log.put(f"important {number}", important=True)
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(_until_end(pipe)))
    reader.start()
    log.close(30)
    pipe.close(pipe.writing)
    reader.join()
    assert [text for text in lines if text.startswith("important")] == [
        f"important {number}" for number in range(RESERVE // 2)
    ]


def test_put_never_blocks(pipe: Pipe) -> None:
    log = writer(pipe.writing)
    began = time.monotonic()
    for _ in range(100_000):
        log.put("x" * 1000)
    assert time.monotonic() - began < 5
    # A log that nobody reads does not delay the end.
    log.close(0.1)
    assert time.monotonic() - began < 6


def test_a_reader_that_has_gone(pipe: Pipe) -> None:
    log = writer(pipe.writing)
    pipe.close(pipe.reading)
    for number in range(1000):
        log.put(str(number))
    log.close(5)


def test_a_descriptor_that_does_not_block(pipe: Pipe) -> None:
    os.set_blocking(pipe.writing, False)
    log = writer(pipe.writing)
    for _ in range(2000):
        log.put("x" * 99)
    time.sleep(0.3)
    assert pipe.read_lines(2000) == ["x" * 99] * 2000
    log.close(5)


def test_a_full_disk_is_reported_when_there_is_space_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    full = os.open("/dev/full", os.O_WRONLY)
    room = os.dup(descriptor)
    os.dup2(full, descriptor)
    log = writer(descriptor)
    for number in range(3):
        log.put(str(number))
    time.sleep(0.2)
    os.dup2(room, descriptor)
    log.put("after")
    log.close(5)
    first, second = path.read_text().splitlines()
    assert (first, dropped(second)) == ("after", 3)
    for opened in (descriptor, full, room):
        os.close(opened)


WRITE_MANY = """
import sys
from ociserver._core import LineWriter
log = LineWriter(1, "text")
for _ in range(5000):
    log.put(sys.argv[1] * 150)
log.close(30)
"""


def test_writes_are_small_enough_to_stay_whole(pipe: Pipe) -> None:
    """Two processes that share a pipe do not mix their lines."""
    command = [sys.executable, "-c", WRITE_MANY]
    with (
        subprocess.Popen([*command, "a"], stdout=pipe.writing) as first,
        subprocess.Popen([*command, "b"], stdout=pipe.writing) as second,
    ):
        lines = pipe.read_lines(10_000)
    assert (first.returncode, second.returncode) == (0, 0)
    assert set(lines) == {"a" * 150, "b" * 150}
    assert LineWriter.WRITE_SIZE <= select.PIPE_BUF


def test_requests_and_other_lines_are_in_order(pipe: Pipe) -> None:
    log = LineWriter(pipe.writing, "json")
    log.put("before")
    log(Event("id-1", "127.0.0.1", "GET", b"/v2/", "ping", None, 200, 0, 2, 0.0012))
    log.put("after\nand\udcff")
    log.close(5)
    before, request, after, further = pipe.read().decode().splitlines()
    assert (before, after, further) == ("before", "after", "and\\udcff")
    entry = json.loads(request)
    at = datetime.fromisoformat(entry.pop("time"))
    assert abs(time.time() - at.timestamp()) < 5
    assert entry == {
        "level": "info",
        "message": "request",
        "request_id": "id-1",
        "client": "127.0.0.1",
        "method": "GET",
        "path": "/v2/",
        "kind": "ping",
        "repository": None,
        "status": 200,
        "received_bytes": 0,
        "sent_bytes": 2,
        "duration_s": 0.0012,
    }


def test_the_report_of_dropped_lines_has_the_format_of_the_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    read_only = os.open(path, os.O_RDONLY)
    room = os.dup(descriptor)
    os.dup2(read_only, descriptor)
    log = LineWriter(descriptor, "json")
    log.put("lost")
    time.sleep(0.2)
    os.dup2(room, descriptor)
    log.put("after")
    log.close(5)
    for opened in (descriptor, read_only, room):
        os.close(opened)
    first, second = path.read_text().splitlines()
    entry = json.loads(second)
    datetime.fromisoformat(entry.pop("time"))
    assert (first, entry) == (
        "after",
        {
            "level": "warning",
            "message": "1 log lines were dropped: the log cannot be written as fast as requests come in",
            "dropped": 1,
        },
    )


NOT_CLOSED = """
import sys
from ociserver._core import LineWriter
log = LineWriter(1, "text")
for _ in range(1000):
    log.put("x" * 1000)
"""


@pytest.mark.parametrize("end", ["", "del log", "log.close(0.1)", "sys.exit(0)"])
def test_a_log_that_nobody_reads_does_not_keep_the_process_alive(pipe: Pipe, end: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", NOT_CLOSED + end], stdout=pipe.writing, stderr=subprocess.PIPE, timeout=20, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_writer_that_is_dropped_writes_what_it_has(pipe: Pipe) -> None:
    log = writer(pipe.writing)
    log.put("the last word")
    del log
    assert pipe.read_lines(1) == ["the last word"]


def test_anything_but_an_event_is_refused(pipe: Pipe) -> None:
    log = writer(pipe.writing)
    for wrong in (None, (), ("id", "client", "GET", "path", None, None, 200, 0, 0, 0.0)):
        with pytest.raises((TypeError, ValueError)):
            log(wrong)  # type: ignore[arg-type]
    log.close(5)
    assert pipe.read() == b""
