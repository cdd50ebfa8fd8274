"""Each message is one log line, for people or for machines, whatever it contains."""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociserver._core import access_line
from ociserver.context import RequestContext, request_context
from ociserver.handler import Event
from ociserver.serve.log_format import JsonFormat, TextFormat

AT: Final = 1_800_000_000.1239

# More than any server lets through: the format must not rely on the server.
EVENTS: Final = st.builds(
    Event,
    request_id=st.text(),
    client=st.sampled_from(["127.0.0.1", "::1", ""]),
    method=st.sampled_from(["GET", "PUT", "FOO-BAR"]),
    path=st.binary(),
    kind=st.none() | st.just("blob_get"),
    repository=st.none() | st.text(),
    status=st.integers(0, 599),
    received=st.integers(0, 2**64 - 1),
    sent=st.integers(0, 2**64 - 1),
    duration=st.floats(0, 1e6),
)

MESSAGES: Final = st.text(alphabet=st.characters(codec="utf-8"))


def event(**changes: Any) -> Event:
    facts: dict[str, Any] = {
        "request_id": "id-1",
        "client": "127.0.0.1",
        "method": "GET",
        "path": b"/v2/",
        "kind": "ping",
        "repository": None,
        "status": 200,
        "received": 0,
        "sent": 0,
        "duration": 0.0012,
    }
    return Event(**{**facts, **changes})


def record(message: str, *arguments: Any, error: BaseException | None = None) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord("ociserver", logging.ERROR, __file__, 1, message, arguments, exc_info)
    made.created = AT
    return made


def is_one_line(text: str) -> bool:
    return len(text.splitlines()) == 1 and text.isprintable()


@given(EVENTS)
def test_a_text_line_is_one_line(event: Event) -> None:
    assert is_one_line(access_line("text", AT, event))


@given(EVENTS)
def test_a_json_line_is_one_object(event: Event) -> None:
    line = access_line("json", AT, event)
    assert is_one_line(line)
    entry = json.loads(line)
    assert entry["request_id"] == event.request_id
    assert entry["repository"] == event.repository
    assert entry["status"] == (event.status or None)
    assert entry["received_bytes"] == event.received


@given(st.binary())
def test_different_paths_never_look_the_same_in_text(path: bytes) -> None:
    quoted = access_line("text", AT, event(path=path)).split('"', 1)[1].rpartition('" 200')[0]
    # The reverse of the escaping: `\\xNN` is a byte, and a backslash before another character stands for that.
    undone = re.sub(
        r"\\(x[0-9a-f]{2}|.)",
        lambda match: chr(int(match[1][1:], 16)) if len(match[1]) == 3 else match[1],
        quoted.removeprefix("GET "),
    )
    assert undone.encode("latin-1") == path


def test_text() -> None:
    line = access_line("text", AT, event(path=b"/v2/a/tags/list", status=404, received=1, sent=2))
    assert line == '2027-01-15T08:00:00.123Z access  127.0.0.1 "GET /v2/a/tags/list" 404 in=1 out=2 1.2ms id=id-1'


def test_json() -> None:
    line = access_line("json", AT, event(path=b"/v2/a/tags/list", repository="a", kind="tags_list", received=1, sent=2))
    assert line == (
        '{"time":"2027-01-15T08:00:00.123Z","level":"info","message":"request","request_id":"id-1","client":"127.0.0.1",'
        '"method":"GET","path":"/v2/a/tags/list","kind":"tags_list","repository":"a","status":200,"received_bytes":1,'
        '"sent_bytes":2,"duration_s":0.001200}'
    )


def test_what_is_not_a_character_is_escaped() -> None:
    """Names of files and arguments can contain such text."""
    odd = event(request_id="\udcff-1", client="", path=b'/\xff"\\\n')
    assert access_line("text", AT, odd) == (
        r'2027-01-15T08:00:00.123Z access  - "GET /\xff\"\\\x0a" 200 in=0 out=0 1.2ms id=\\udcff-1'
    )
    assert json.loads(access_line("json", AT, odd))["path"] == r"/\xff" + '"\\\n'


def test_only_these_two_formats() -> None:
    with pytest.raises(ValueError, match='unknown log format "xml"'):
        access_line("xml", AT, event())  # type: ignore[arg-type]


def test_a_request_without_an_answer() -> None:
    """The client had disconnected."""
    assert '"GET /v2/" - in=0' in access_line("text", AT, event(status=0))
    assert json.loads(access_line("json", AT, event(status=0)))["status"] is None


def test_times_across_a_second() -> None:
    moments = (AT, AT + 0.877, AT + 0.8, AT - 86400)
    form = TextFormat()
    times = [access_line("text", at, event()).split(" ")[0] for at in moments]
    assert times == [form.message(at, "info", "", {}).split(" ")[0] for at in moments]
    assert times == [
        "2027-01-15T08:00:00.123Z",
        "2027-01-15T08:00:01.000Z",
        "2027-01-15T08:00:00.923Z",
        "2027-01-14T08:00:00.123Z",
    ]


@given(MESSAGES, MESSAGES)
def test_no_message_begins_a_line_in_text(message: str, text: str) -> None:
    """The other lines of a traceback are indented, so no message can look like another log line."""
    line = TextFormat().record(record("%s", message, error=ValueError(text)))
    first, *further = re.split(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]", line)
    assert first.startswith("2027-01-15T08:00:00.123Z error   ")
    assert all(each.startswith("    ") for each in further)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", line)


@given(MESSAGES, MESSAGES)
def test_a_record_is_one_object_in_json(message: str, text: str) -> None:
    line = JsonFormat().record(record("%s", message, error=ValueError(text)))
    assert is_one_line(line)
    entry = json.loads(line)
    assert entry["message"] == message
    assert entry["level"] == "error"
    assert f"ValueError: {text}".rstrip() in entry["traceback"] or not text.strip()


def test_a_record_within_a_request_carries_its_id() -> None:
    token = request_context.set(RequestContext("the-one"))
    try:
        entry = json.loads(JsonFormat().record(record("failed")))
    finally:
        request_context.reset(token)
    assert entry["request_id"] == "the-one"
    assert "request_id" not in json.loads(JsonFormat().record(record("failed")))


def test_a_traceback_is_whole() -> None:
    def fail() -> None:
        raise LookupError("not there")

    try:
        fail()
    except LookupError:
        error = sys.exception()
    lines = TextFormat().record(record("failed", error=error)).splitlines()
    assert lines[0].endswith("error   failed")
    assert lines[1] == "    Traceback (most recent call last):"
    assert lines[-1] == "    LookupError: not there"
