"""What `ociserver config check` finds beyond the file itself: files that it names, and what is probably a mistake."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ociserver.config import Config
    from ociserver.config.auth import Htpasswd
    from ociserver.config.auth_lints import Lint
    from ociserver.config.lines import Key
    from ociserver.config.problems import Problem

__all__ = ["warnings"]


def warnings(config: Config, file: Path) -> list[Problem]:
    """What is probably a mistake, in the order of the file. Reads the files that it names.

    Args:
        config: without mistakes.
        file: where it comes from.

    Raises:
        ConfigError: a file that it names cannot be read, or the file of passwords is wrong. A server does not start
            then.
    """
    # Imported late, as in `configured.read`.
    from ociserver.config import ConfigError, auth_lints, server_lints

    users, wrong = None, list(_unreadable(config))
    if config.auth is not None and config.auth.htpasswd is not None and not wrong:
        users, wrong = _users(config.auth.htpasswd)
    if wrong:
        raise ConfigError(_problems(file, wrong))
    found = list(server_lints.lints(config.server))
    if config.auth is not None:
        found += auth_lints.lints(config.auth, users)
    return _problems(file, found)


def _problems(file: Path, found: list[Lint]) -> list[Problem]:
    from ociserver.config.lines import line_of
    from ociserver.config.problems import Problem, dotted

    text = file.read_text(encoding="utf-8")
    problems = [Problem(file, line_of(text, lint.at), dotted(lint.at), lint.text) for lint in found]
    return sorted(problems, key=lambda problem: problem.line)


def _unreadable(config: Config) -> Iterator[Lint]:
    """The files of `[server]` and `[auth]` that cannot be read."""
    from ociserver.config.auth_lints import Lint

    for at, path in (*_paths(config.server, ("server",)), *_paths(config.auth, ("auth",))):
        why = _why_unreadable(path)
        if why is not None:
            # Without the path, because it can be a secret that was given in place of a path.
            do = "make it with `ociserver auth hash USER`" if at[1] == "htpasswd" else "correct the path"
            yield Lint(at, f"names a file that cannot be read ({why}); {do}, or check on the machine that has it")


def _why_unreadable(path: Path) -> str | None:
    """Why a file cannot be read; None if it can."""
    try:
        # A named pipe would wait for a writer.
        if not S_ISREG(path.stat().st_mode):
            return "not a regular file"
        path.open("rb").close()
    except OSError as error:
        return error.strerror
    return None


def _paths(table: Any, at: tuple[Key, ...]) -> Iterator[tuple[tuple[Key, ...], Path]]:
    """The paths of a table and of the tables in it, with their keys."""
    if isinstance(table, Path):
        yield at, table
    elif isinstance(table, dict):
        for name, value in table.items():
            yield from _paths(value, (*at, name))
    elif is_dataclass(table):
        for each in fields(table):
            yield from _paths(getattr(table, each.name), (*at, each.name.replace("_", "-")))


def _users(table: Htpasswd) -> tuple[frozenset[str] | None, list[Lint]]:
    """The users of a file of passwords, or what is wrong with it."""
    from ociserver.auth.htpasswd import HtpasswdFile  # late, for the same reason
    from ociserver.config.auth_lints import Lint

    file = HtpasswdFile(table.file)
    try:
        file.load()
    except (ImportError, ValueError) as error:
        return None, [Lint(("auth", "htpasswd", "file"), f"the users cannot be read: {error}")]
    return file.snapshot.users, []
