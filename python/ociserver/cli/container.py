"""The command line in the container image: its defaults, and the variables of distribution instead of a file."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ociserver.cli.errors import WrongConfigError
from ociserver.container import DATA, PORT, any_address, configuration_file, is_container, translated
from ociserver.serve.errors import CannotServeError

if TYPE_CHECKING:
    from ociserver.config import Config

__all__ = ["address", "config", "defaults", "file", "notes", "wait_for_users"]

WAIT_S: Final = 60.0
"""How long the server waits for a file of users that is copied into the container after its start."""

_LOOK_EVERY_S: Final = 0.1


def file(given: Path | None) -> Path | None:
    """The configuration file. Outside the image it is the given one.

    Raises:
        WrongConfigError: there is a file, and there are variables of distribution too.
    """
    if not is_container(os.environ):
        return given
    found = configuration_file(given)
    if found is not None:
        translation = translated(os.environ)
        _refuse(translation.problems)
        if translation.effective:
            raise WrongConfigError(
                f"{found} is the configuration, so no variable of distribution can be used. Move to the file what "
                f"these say, and remove them: {', '.join(translation.effective)}"
            )
    return found


def defaults() -> dict[str, str]:
    """The image's own defaults, as texts of flags. Nothing outside the image."""
    return {"host": any_address(), "port": PORT, "data": DATA} if is_container(os.environ) else {}


def address() -> dict[str, Any]:
    """Where the server of this container listens, in the form of a configuration file, without checking it."""
    return translated(os.environ).document if is_container(os.environ) else {}


def config() -> Config | None:
    """The configuration that the variables describe. None outside the image.

    Raises:
        WrongConfigError: a variable is refused or wrong. The message has a line for each.
    """
    if not is_container(os.environ):
        return None
    # Imported late, as for files.
    from ociserver.config import ConfigError, from_document

    translation = translated(os.environ)
    _refuse(translation.problems)
    try:
        return from_document(translation.document, Path("/"))
    except ConfigError as error:
        lines = [f"{translation.source(problem.key)}: {problem.text}" for problem in error.problems]
        raise WrongConfigError("\n".join(lines)) from None


def notes() -> list[str]:
    """A sentence for each variable that has no effect."""
    return translated(os.environ).notes if is_container(os.environ) else []


def wait_for_users(path: Path | None) -> None:
    """Wait until the file of users is there. Test tools copy it into a container that has started.

    distribution would make a file with a random password. This server makes no passwords, and listens only when it
    knows its users.

    Raises:
        CannotServeError: it is still missing after `WAIT_S`.
    """
    if path is None or not is_container(os.environ) or _is_filled(path):
        return
    print(f"ociserver: waiting for the file of users, {path}", flush=True)
    deadline = time.monotonic() + WAIT_S
    with _stoppable():
        while not _is_filled(path):
            if time.monotonic() > deadline:
                raise CannotServeError(
                    f"the file of users, {path}, does not exist, or is empty. Mount one with lines of `htpasswd -B` or "
                    "`ociserver auth hash USER`."
                )
            time.sleep(_LOOK_EVERY_S)


def _is_filled(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


@contextmanager
def _stoppable() -> Iterator[None]:
    """End the process at SIGTERM. The kernel ignores the signal for the first process of a container without this."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _refuse(problems: list[str]) -> None:
    if problems:
        raise WrongConfigError("\n".join(problems))
