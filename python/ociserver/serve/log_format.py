"""The formats of log messages: text for people, or JSON with one object on each line.

Both can be read line by line: nothing that a client sends can end a line or begin one. The core makes the lines of
requests (`access_line`).
"""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from ociserver.context import request_context
from ociserver.settings import LogFormat

__all__ = ["Format", "JsonFormat", "TextFormat", "make_format"]

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTINUED: Final = "\n    "


class Format(Protocol):
    """Makes lines, without their newline."""

    def message(self, at: float, level: str, text: str, fields: dict[str, Any]) -> str:
        """The line of a message.

        Args:
            at: when it was logged, in seconds since the epoch.
            level: its level, in lower case.
            text: the message.
            fields: further facts, which only JSON shows.
        """

    def record(self, record: logging.LogRecord) -> str:
        """The line of a log record, with its traceback if it has one."""


class TextFormat:
    """`<time> <level> <text>`. Further lines, as of a traceback, are indented."""

    def message(self, at: float, level: str, text: str, fields: dict[str, Any]) -> str:
        return f"{_time(at)} {level:<7} {_indented(text)}"

    def record(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        trace = _traceback(record)
        return self.message(record.created, record.levelname.lower(), f"{text}\n{trace}" if trace else text, {})


class JsonFormat:
    """One object on each line: `time`, `level`, `message`, and further facts, each under its own name."""

    def __init__(self) -> None:
        self._encode = json.JSONEncoder(separators=(",", ":")).encode

    def message(self, at: float, level: str, text: str, fields: dict[str, Any]) -> str:
        return self._encode({"time": _time(at), "level": level, "message": text, **fields})

    def record(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {"logger": record.name}
        # In the task of a request, the context is that of the request.
        context = request_context.get()
        if context:
            fields["request_id"] = context.request_id
        # Given to the logger as `extra={"fields": {...}}`.
        given = getattr(record, "fields", {})
        fields.update(given)
        trace = _traceback(record)
        if trace:
            fields["traceback"] = trace
        # The message of an entry of the audit log is its fields as JSON, which would be there twice.
        text = given.get("event") or record.getMessage()
        return self.message(record.created, record.levelname.lower(), text, fields)


def make_format(name: LogFormat) -> Format:
    """The format with this name."""
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
