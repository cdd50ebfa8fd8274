"""The `ociserver` command with shorter limits, so that a test need not wait for those of a user.

What the parent of several workers starts is the command itself, with its own limits.
"""

from __future__ import annotations

from ociserver.cli import main
from ociserver.serve.workers import supervise
from ociserver.store.sqlite import SQLite

LOCK_WAIT_S = 1.0
SILENCE_S = 3.0
STOP_MARGIN_S = 1.0


def shorten(function: object, name: str, seconds: float) -> None:
    """Give a limit, which is a keyword parameter, another default."""
    defaults: dict[str, float] = function.__kwdefaults__  # type: ignore[attr-defined]
    assert name in defaults
    defaults[name] = seconds


if __name__ == "__main__":
    shorten(SQLite.__init__, "lock_wait_s", LOCK_WAIT_S)
    shorten(supervise, "silence_s", SILENCE_S)
    shorten(supervise, "stop_margin_s", STOP_MARGIN_S)
    main()
