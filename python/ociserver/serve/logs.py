"""The log of `serve`: the access log, our own messages and those of the libraries, in one format and one stream."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from typing import Any, Final, Literal

from ociserver._core import LineWriter
from ociserver.errors import RegistryError
from ociserver.handler import Event
from ociserver.serve.log_format import Format, FormatName, make_format

__all__ = ["GRANIAN_LOG_CONFIG", "LEVELS", "Level", "Log"]

Level = Literal["debug", "info", "warning", "error"]
LEVELS: Final[tuple[Level, ...]] = ("debug", "info", "warning", "error")

FLUSH_S: Final = 2.0
"""How long the end of the process waits for a log that is not being read."""

_EXPERIMENTAL: Final = "Embedded server is experimental!"
_RAISED: Final = "Application callable raised an exception"
_LOGGED: Final = "_ociserver_logged"

GRANIAN_LOG_CONFIG: Final[dict[str, Any]] = {
    # Changes nothing but a level: otherwise granian replaces every handler with its own.
    "version": 1,
    "incremental": True,
    "formatters": {},
    "handlers": {},
    "loggers": {},
}


class Log:
    """Writes lines to a file descriptor, by a `LineWriter`.

    Args:
        descriptor: where to.
        format_name: text or json.
        level: the least of the messages that are shown; the access log is not subject to it.
    """

    def __init__(self, descriptor: int, format_name: FormatName, level: Level) -> None:
        self._format = make_format(format_name)
        self._writer = LineWriter(descriptor, format_name)
        self.access: Callable[[Event], None] = self._writer
        """Log a finished request (`Handler`'s `observe`)."""
        _configure(_Handler(self._format, self._writer), level)

    def say(self, text: str, **fields: Any) -> None:
        """Log what the user asked for and so is shown at every level."""
        self._writer.put(self._format.message(time.time(), "info", text, fields), important=True)

    def show(self, text: str) -> None:
        """Print for people, as it is."""
        self._writer.put(text, important=True)

    def close(self) -> None:
        """Write what waits. What is logged after this is lost."""
        self._writer.close(FLUSH_S)


class _Handler(logging.Handler):
    """Puts log records into the queue. They are formatted at once: their arguments may change."""

    def __init__(self, form: Format, writer: LineWriter) -> None:
        super().__init__()
        self._format = form
        self._writer = writer
        self.addFilter(_worth_showing)

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


def _configure(handler: logging.Handler, level: Level) -> None:
    root = logging.getLogger()
    root.handlers[:] = [handler]
    logging.captureWarnings(capture=True)
    own = logging.getLevelNamesMapping()[level.upper()]
    # At info, libraries tell what concerns their authors: granian, a line for each chunk that nobody takes.
    root.setLevel(own if level == "debug" else max(own, logging.WARNING))
    logging.getLogger("ociserver").setLevel(own)


def _worth_showing(record: logging.LogRecord) -> bool:
    """Leave out of granian's messages what is said already, or is no news."""
    if not record.name.startswith("_granian"):
        return True
    text = record.getMessage()
    if text.startswith(_RAISED):
        # granian reports each exception that leaves the application, while it handles it. The handler has
        # logged its own with the request id, and those that are no faults of ours, as of a registry elsewhere that
        # breaks off, without a traceback; a request that is cut off at shutdown is cancelled on purpose.
        error = sys.exc_info()[1]
        is_known = isinstance(error, (asyncio.CancelledError, RegistryError))
        return not (is_known or _LOGGED in getattr(error, "__dict__", {}))
    return text != _EXPERIMENTAL
