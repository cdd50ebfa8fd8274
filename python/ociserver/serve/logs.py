"""The log of the server: access log, own messages and those of libraries, in one format and one stream."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from ociserver._core import LineWriter
from ociserver.errors import RegistryError
from ociserver.handler import Event
from ociserver.serve.granian import is_noise, reports_exception
from ociserver.serve.log_format import Format, make_format
from ociserver.settings import LogFormat, LogLevel

__all__ = ["Log"]

FLUSH_S: Final = 2.0
"""How long the process waits at its end for a reader of the log that does not read."""

_LOGGED: Final = "_ociserver_logged"
"""Attribute of exceptions that were logged with their traceback."""


class Log:
    """Writes lines to a file descriptor, by a `LineWriter`.

    Args:
        descriptor: the file descriptor to write to.
        format_name: text or json.
        level: lowest level of messages to write. It does not concern the access log.
        flush_s: how long `close` waits for a reader that does not read.
    """

    def __init__(self, descriptor: int, format_name: LogFormat, level: LogLevel, flush_s: float = FLUSH_S) -> None:
        self._format = make_format(format_name)
        self._flush_s = flush_s
        self._writer = LineWriter(descriptor, format_name)
        self.access: Callable[[Event], None] = self._writer
        """Log a finished request (`observe` of a `Handler`)."""
        _configure(_Handler(self._format, self._writer), level)

    def say(self, text: str, **fields: Any) -> None:
        """Log a message at every level, because the user asked for it."""
        self._writer.put(self._format.message(time.time(), "info", text, fields), important=True)

    def show(self, text: str) -> None:
        """Write a text for people as it is."""
        self._writer.put(text, important=True)

    def close(self) -> None:
        """Write what waits. What is logged later is lost."""
        self._writer.close(self._flush_s)


class _Handler(logging.Handler):
    """Puts log records into the queue. They are formatted at once, since their arguments may change."""

    def __init__(self, form: Format, writer: LineWriter) -> None:
        super().__init__()
        self._format = form
        self._writer = writer
        self.addFilter(_is_worth_logging)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self._format.record(record)
        except Exception:
            self.handleError(record)
            return
        self._writer.put(line, important=record.levelno >= logging.WARNING)
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            error.__dict__[_LOGGED] = True


def _configure(handler: logging.Handler, level: LogLevel) -> None:
    root = logging.getLogger()
    root.handlers[:] = [handler]
    logging.captureWarnings(capture=True)
    own = logging.getLevelNamesMapping()[level.upper()]
    # At info, libraries log what concerns only their authors: granian, a line for each chunk that no one takes.
    root.setLevel(own if level == "debug" else max(own, logging.WARNING))
    logging.getLogger("ociserver").setLevel(own)


def _is_worth_logging(record: logging.LogRecord) -> bool:
    if reports_exception(record):
        # The handler has logged its own exceptions with the request id. It logs a `RegistryError`, for example when a
        # remote registry breaks off, without a traceback. A request that is cut off at shutdown is cancelled on
        # purpose.
        error = sys.exc_info()[1]
        is_known = isinstance(error, (asyncio.CancelledError, RegistryError))
        return not (is_known or _LOGGED in getattr(error, "__dict__", {}))
    return not is_noise(record)
