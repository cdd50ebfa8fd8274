"""What a log line looks like: as text for people, or as JSON, one object a line.

Both are safe to read by line: nothing that a client sends can end a line or begin one.
"""

from __future__ import annotations

import json
import logging
import re
import time
from typing import Any, Final, Literal, Protocol

from ociserver.context import request_context
from ociserver.handler import Event

__all__ = ["FORMATS", "Format", "FormatName", "JsonFormat", "TextFormat", "make_format"]

FormatName = Literal["text", "json"]

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_OR_QUOTE: Final = re.compile(r'[\x00-\x1f\x7f"\\]')
_CONTINUED: Final = "\n    "


class Format(Protocol):
    """Makes lines, without their newline."""

    def access(self, at: float, event: Event) -> str:
        """The line of a finished request.

        Args:
            at: when it had finished, in seconds since 1970.
            event: what the handler tells of it.
        """

    def message(self, at: float, level: str, text: str, fields: dict[str, Any]) -> str:
        """The line of something that happened; `fields` are further facts, for JSON."""

    def record(self, record: logging.LogRecord) -> str:
        """The line of a log record, with its traceback."""


class TextFormat:
    """`<time> <level or "access"> <text>`; further lines of a traceback are indented."""

    def __init__(self) -> None:
        self._clock = _Clock()

    def access(self, at: float, event: Event) -> str:
        return (
            f'{self._clock.text(at)} access  {event.client or "-"} "{event.method} {_quoted(event.path)}" '
            f"{event.status or '-'} in={event.received} out={event.sent} {event.duration * 1000:.1f}ms "
            f"id={_quoted(event.request_id.encode())}"
        )

    def message(self, at: float, level: str, text: str, fields: dict[str, Any]) -> str:
        return f"{self._clock.text(at)} {level:<7} {_indented(text)}"

    def record(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        trace = _traceback(record)
        return self.message(record.created, record.levelname.lower(), f"{text}\n{trace}" if trace else text, {})


class JsonFormat:
    """One object a line: `time`, `level`, `message`, and what else is known, each under its own name."""

    def __init__(self) -> None:
        self._clock = _Clock()
        self._encode = json.JSONEncoder(separators=(",", ":")).encode

    def access(self, at: float, event: Event) -> str:
        # By hand: half the time of an encoder for the whole object, and there is one for each request.
        return (
            f'{{"time":"{self._clock.text(at)}","level":"info","message":"request",'
            f'"request_id":{_string(event.request_id)},"client":{_string(event.client)},'
            f'"method":{_string(event.method)},"path":{_string(event.path.decode("ascii", "backslashreplace"))},'
            f'"kind":{_string_or_null(event.kind)},"repository":{_string_or_null(event.repository)},'
            f'"status":{event.status or "null"},"received_bytes":{event.received},"sent_bytes":{event.sent},'
            f'"duration_s":{event.duration:.6f}}}'
        )

    def message(self, at: float, level: str, text: str, fields: dict[str, Any]) -> str:
        return self._encode({"time": self._clock.text(at), "level": level, "message": text, **fields})

    def record(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {"logger": record.name}
        # Where a request is being served, this runs in its task.
        context = request_context.get()
        if context:
            fields["request_id"] = context.request_id
        # What somebody gave to the logger as `extra={"fields": {...}}`.
        fields.update(getattr(record, "fields", {}))
        trace = _traceback(record)
        if trace:
            fields["traceback"] = trace
        return self.message(record.created, record.levelname.lower(), record.getMessage(), fields)


FORMATS: Final[tuple[FormatName, ...]] = ("text", "json")


def make_format(name: FormatName) -> Format:
    """The format of that name."""
    return JsonFormat() if name == "json" else TextFormat()


class _Clock:
    """Times as RFC 3339 in UTC with milliseconds. The part that changes once a second is made once a second."""

    def __init__(self) -> None:
        # One attribute, so that two threads cannot mix the second of one with the text of the other.
        self._made = (-1, "")

    def text(self, at: float) -> str:
        second, text = self._made
        if second != int(at):
            second = int(at)
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._made = (second, text)
        return f"{text}.{int(at * 1000) % 1000:03d}Z"


_string: Final = json.encoder.encode_basestring_ascii
"""A text as a JSON string, quotes included."""


def _string_or_null(text: str | None) -> str:
    return "null" if text is None else _string(text)


def _traceback(record: logging.LogRecord) -> str:
    if record.exc_info and record.exc_info[1] is not None:
        return logging.Formatter().formatException(record.exc_info)
    return ""


def _quoted(value: bytes) -> str:
    """What may stand between quotes: printable ASCII, everything else escaped."""
    text = value.decode("ascii", "backslashreplace")
    # Nearly always there is nothing to do, and finding that out is much cheaper than doing it.
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return _CONTROL_OR_QUOTE.sub(_escape, value.decode("latin-1")).encode("ascii", "backslashreplace").decode("ascii")


def _indented(text: str) -> str:
    lines = text.rstrip("\n").split("\n")
    return _CONTINUED.join(_CONTROL.sub(_escape, line) for line in lines)


def _escape(found: re.Match[str]) -> str:
    character = found.group()
    return f"\\{character}" if character in '"\\' else f"\\x{ord(character):02x}"
