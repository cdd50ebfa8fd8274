"""Warnings about a configuration file: what is allowed in it, but probably a mistake."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ociserver.config import Config
    from ociserver.config.auth import Htpasswd
    from ociserver.config.problems import Problem

__all__ = ["warnings"]


def warnings(config: Config, file: Path) -> list[Problem]:
    """What is probably a mistake, in the order of the file. Reads the file of passwords.

    Args:
        config: without mistakes.
        file: where it comes from.
    """
    # Imported late, as in `configured.read`.
    from ociserver.config import auth_lints, server_lints
    from ociserver.config.lines import line_of
    from ociserver.config.problems import Problem, dotted

    found = list(server_lints.lints(config.server))
    if config.auth is not None:
        users, error = (None, "") if config.auth.htpasswd is None else _users(config.auth.htpasswd)
        found += [auth_lints.Lint(("auth", "htpasswd", "file"), error)] if error else []
        found += auth_lints.lints(config.auth, users)
    text = file.read_text(encoding="utf-8")
    problems = [Problem(file, line_of(text, lint.at), dotted(lint.at), lint.text) for lint in found]
    return sorted(problems, key=lambda problem: problem.line)


def _users(table: Htpasswd) -> tuple[frozenset[str] | None, str]:
    """The users of a file of passwords; None and the reason if they cannot be read."""
    from ociserver.auth.htpasswd import HtpasswdFile  # late, for the same reason

    file = HtpasswdFile(table.file)
    try:
        file.load()
    except (ImportError, ValueError) as error:
        return None, f"the users cannot be read: {error}"
    return file.snapshot.users, ""
