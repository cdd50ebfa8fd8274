"""What the log line of a message looks like: as text for people, or as JSON, one object a line.

Both are safe to read by line: nothing that a client sends can end a line or begin one. The lines of requests are made
by the core (`access_line`).
"""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol

from ociserver.context import request_context

__all__ = ["FORMATS", "Format", "FormatName", "JsonFormat", "TextFormat", "make_format"]

FormatName = Literal["text", "json"]

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTINUED: Final = "\n    "


class Format(Protocol):
    """Makes lines, without their newline."""

    def message(self, at: float, level: str, text: str, fields: dict[str, Any]) -> str:
        """The line of something that happened; `fields` are further facts, for JSON."""

    def record(self, record: logging.LogRecord) -> str:
        """The line of a log record, with its traceback."""


class TextFormat:
    """`<time> <level> <text>`; further lines of a traceback are indented."""

    def message(self, at: float, level: str, text: str, fields: dict[str, Any]) -> str:
        return f"{_time(at)} {level:<7} {_indented(text)}"

    def record(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        trace = _traceback(record)
        return self.message(record.created, record.levelname.lower(), f"{text}\n{trace}" if trace else text, {})


class JsonFormat:
    """One object a line: `time`, `level`, `message`, and what else is known, each under its own name."""

    def __init__(self) -> None:
        self._encode = json.JSONEncoder(separators=(",", ":")).encode

    def message(self, at: float, level: str, text: str, fields: dict[str, Any]) -> str:
        return self._encode({"time": _time(at), "level": level, "message": text, **fields})

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


def _time(at: float) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _traceback(record: logging.LogRecord) -> str:
    if record.exc_info and record.exc_info[1] is not None:
        return logging.Formatter().formatException(record.exc_info)
    return ""


def _indented(text: str) -> str:
    lines = text.rstrip("\n").split("\n")
    return _CONTINUED.join(_CONTROL.sub(_escape, line) for line in lines)


def _escape(found: re.Match[str]) -> str:
    return f"\\x{ord(found.group()):02x}"
