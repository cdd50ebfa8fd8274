"""Colours and progress bars on a terminal. A file or a pipe gets the same text without them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Final, Literal

import click

__all__ = ["Advance", "Style", "paint", "progress"]

Style = Literal["strong", "good", "doubtful", "bad", "faint"]

Advance = Callable[[float, float, str], None]
"""Called with the work that is done, all work that is known, and a text beside the bar."""

_STYLES: Final[dict[Style, dict[str, Any]]] = {
    "strong": {"bold": True},
    "good": {"fg": "green"},
    "doubtful": {"fg": "yellow"},
    "bad": {"fg": "red", "bold": True},
    "faint": {"dim": True},
}


def paint(text: str, style: Style, stream: IO[Any] | None = None) -> str:
    """A text in a style, if a stream is a terminal that shows colours and the user wants them (https://no-color.org).

    Args:
        text: what to show.
        style: how to show it.
        stream: where the text goes; None is stdout.
    """
    return click.style(text, **_STYLES[style]) if _has_colours(stream or sys.stdout) else text


@contextmanager
def progress(label: str, *, hidden: bool = False) -> Iterator[Advance]:
    """A progress bar on stderr while the block runs. It disappears with the block.

    Args:
        label: what is done.
        hidden: show none, even on a terminal.
    """
    if hidden or not _is_terminal(sys.stderr):
        yield lambda done, total, text: None
        return
    # Imported late, because it takes longer than most commands do.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        # Names come from a registry, and may look like markup.
        TextColumn("{task.fields[text]}", markup=False),
    )
    console = Console(file=sys.stderr)
    # rich would also write to stderr what goes to stdout.
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
        task = bar.add_task(label, total=None, text="")
        yield lambda done, total, text: bar.update(task, completed=done, total=max(total, 1), text=text)


def _has_colours(stream: IO[Any]) -> bool:
    return _is_terminal(stream) and not os.environ.get("NO_COLOR")


def _is_terminal(stream: IO[Any] | None) -> bool:
    """Whether a stream is a terminal that understands control sequences. It is None if it is closed."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
