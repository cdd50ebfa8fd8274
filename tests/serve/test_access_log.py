"""The access log of a running server has one line for each request, whatever the request contains."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any, Final

from tests.cli.process import Serve, command, eventually, serving

LINE: Final = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) access  (?P<client>\S+) "
    r'"(?P<method>\S+) (?P<path>(?:[^"\\]|\\.)*)" (?P<status>\d{3}|-) in=(?P<received>\d+) out=(?P<sent>\d+) '
    r"(?P<ms>\d+\.\d)ms id=(?P<id>.*)"
)

TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def stop(server: Serve) -> str:
    """Stop the server. Returns its whole output."""
    server.signal(signal.SIGTERM)
    assert server.exit_status() == 0
    return server.printed()


def raw(server: Serve, request: bytes) -> bytes:
    """Send these bytes. Returns the first line of the answer."""
    connection = server.connect()
    connection.sendall(request)
    with connection.makefile("rb") as answer:
        return answer.readline()


def test_text(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        connection = server.http()
        connection.request("GET", "/v2/hello/tags/list?n=3", headers={"X-Request-Id": "from-the-client"})
        body = connection.getresponse().read()
        connection.request("POST", "/v2/hello/blobs/uploads/", b"")
        upload = connection.getresponse()
        upload.read()
        connection.request("PATCH", upload.headers["Location"], b"x" * 1234)
        connection.getresponse().read()
        lines = [match.groupdict() for match in map(LINE.fullmatch, stop(server).splitlines()) if match]

    assert [(line["method"], line["status"]) for line in lines] == [("GET", "404"), ("POST", "202"), ("PATCH", "202")]
    assert lines[0]["path"] == "/v2/hello/tags/list"
    assert lines[0]["client"] == "127.0.0.1"
    assert lines[0]["id"] == "from-the-client"
    assert int(lines[0]["sent"]) == len(body)
    assert lines[1]["id"] != lines[2]["id"]
    assert lines[2]["received"] == "1234"


def test_json(tmp_path: Path) -> None:
    with serving(tmp_path, "--log-format", "json") as server:
        status, body = server.get("/v2/hello/tags/list", headers={"X-Request-Id": "from-the-client"})
        assert status == 404
        server.get("/elsewhere")
        first, second = (json.loads(line) for line in stop(server).splitlines()[1:])

    assert TIME.fullmatch(first.pop("time"))
    duration = first.pop("duration_s")
    assert 0 < duration < 5
    assert first == {
        "level": "info",
        "message": "request",
        "request_id": "from-the-client",
        "client": "127.0.0.1",
        "method": "GET",
        "path": "/v2/hello/tags/list",
        "kind": "tags_list",
        "repository": "hello",
        "status": 404,
        "received_bytes": 0,
        "sent_bytes": len(body),
    }
    assert (second["kind"], second["repository"], second["path"]) == (None, None, "/elsewhere")


def test_every_request_is_logged_when_the_server_has_stopped(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        connection = server.http()
        for _ in range(500):
            connection.request("GET", "/v2/")
            connection.getresponse().read()
        assert len(LINE.findall(stop(server))) == 500


def test_no_access_log(tmp_path: Path) -> None:
    with serving(tmp_path, "--no-access-log") as server:
        assert server.get("/v2/")[0] == 200
        assert server.get("/v2/a/tags/list")[0] == 404
        assert len(stop(server).splitlines()) == 4, "the first lines and no others"


def test_health_checks_are_not_logged(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert server.get("/healthz")[0] == 200
        assert server.get("/readyz")[0] == 200
        assert "access" not in stop(server)


# The path and X-Request-Id of a request, and the path in the text line and in the JSON object.
HOSTILE: Final = (
    (b'/v2/"quoted"', b'a" 200 in=0', r"/v2/\"quoted\"", '/v2/"quoted"'),
    (b"/v2/\\n", b"a\\b", r"/v2/\\n", r"/v2/\n"),
    (b"/v2/%0a%0d", b"x" * 2000, "/v2/%0a%0d", "/v2/%0a%0d"),
    (b"/v2/\xe2\x80\xa8", b"\xff", r"/v2/\xe2\x80\xa8", r"/v2/\xe2\x80\xa8"),
    (b"/v2/{}'", b"tab\there", "/v2/{}'", "/v2/{}'"),
)


def test_a_client_cannot_forge_lines(tmp_path: Path) -> None:
    """Any bytes that HTTP lets through are escaped, in the line of their request."""
    printed = []
    for name in ("text", "json"):
        (tmp_path / name).mkdir()
        with serving(tmp_path / name, "--log-format", name) as server:
            for path, request_id, _, _ in HOSTILE:
                head = b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nX-Request-Id: " + request_id + b"\r\n\r\n"
                assert raw(server, head).startswith(b"HTTP/1.1 404")
            printed.append(stop(server))

    lines = [line for line in printed[0].splitlines() if " access " in line]
    assert all(line.isascii() for line in lines)
    matches = [match for match in map(LINE.fullmatch, lines) if match]
    assert [match["path"] for match in matches] == [text for _, _, text, _ in HOSTILE]
    objects = [json.loads(line) for line in printed[1].splitlines()[1:]]
    assert [entry["path"] for entry in objects] == [as_json for _, _, _, as_json in HOSTILE]


def flood(port: int, count: int) -> None:
    """Send this many pipelined requests on one connection, and read all answers."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        request = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"
        sender = threading.Thread(target=connection.sendall, args=(request * count,))
        sender.start()
        answered, rest = 0, b""
        while answered < count:
            data = connection.recv(1 << 20)
            assert data, "the server closed the connection"
            rest += data
            answered += rest.count(b"\r\n\r\n")
            rest = rest[rest.rfind(b"\r\n\r\n") + 4 :] if b"\r\n\r\n" in rest else rest
        sender.join()


def test_a_log_that_nobody_reads_does_not_stop_the_server() -> None:
    """The pipe and the queue are full: the server answers requests, and logs how many lines are missing."""
    count = 25_000
    arguments = [*command(), "--memory", "--port", "0"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        found = re.search(rb"http://localhost:(\d+)", process.stdout.readline())
        assert found
        port = int(found[1])
        flood(port, count)

        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(line.decode() for line in process.stdout or ()))
        reader.start()
        eventually(lambda: any("log lines were dropped" in line for line in lines), "the dropped lines", lambda: "")
        process.terminate()
        assert process.wait(30) == 0
        reader.join()

    dropped = sum(int(match[1]) for line in lines if (match := re.search(r"warning (\d+) log lines were", line)))
    logged = sum(1 for line in lines if " access " in line)
    assert dropped > 0
    assert logged + dropped == count


def test_a_log_that_cannot_be_written_does_not_stop_the_server() -> None:
    arguments = [*command(), "--memory", "--port", "0"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        found = re.search(rb"http://localhost:(\d+)", process.stdout.readline())
        assert found
        process.stdout.close()
        flood(int(found[1]), 2_000)
        process.terminate()
        assert process.wait(30) == 0
        assert process.stderr.read() == b""


def error_log(folder: Path, *arguments: str) -> list[str]:
    """Make a request fail because the memory is full. Returns the lines about it."""
    with serving(folder, "--memory-limit", "4KiB", *arguments) as server:
        connection = server.http()
        connection.request("POST", "/v2/a/blobs/uploads/", b"")
        upload = connection.getresponse()
        upload.read()
        connection.request("PATCH", upload.headers["Location"], b"x" * 8192, {"X-Request-Id": "the-one"})
        assert connection.getresponse().status == 507
        return [line for line in stop(server).splitlines() if "the-one" in line]


def test_errors_carry_the_request_id(tmp_path: Path) -> None:
    lines = error_log(tmp_path)
    assert any(re.match(rf"{TIME.pattern} error   the-one: ", line) for line in lines), lines


def test_errors_carry_the_request_id_in_json(tmp_path: Path) -> None:
    entries: list[dict[str, Any]] = [json.loads(line) for line in error_log(tmp_path, "--log-format", "json")]
    error = next(entry for entry in entries if entry["level"] == "error")
    assert error["request_id"] == "the-one"
    assert error["logger"] == "ociserver"
