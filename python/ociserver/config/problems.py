"""Messages about mistakes in a file: what is wrong, where, and how to correct it."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

from pydantic_core import ErrorDetails

from ociserver.config.auth import Auth, AuthRule, Htpasswd
from ociserver.config.auth_providers import Oidc, TokenServer
from ociserver.config.kinds import Kind, Registry
from ociserver.config.lines import Key, find, line_of
from ociserver.config.model import Config, Options, Server
from ociserver.config.objects import Objects
from ociserver.urls import shown

__all__ = ["ConfigError", "Problem", "dotted", "problem_of"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. `str()` is `file:line: key: what is wrong`, a form in which editors find the line."""

    file: Path
    line: int
    key: str
    text: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}"
        return f"{where}: {self.key}: {self.text}" if self.key else f"{where}: {self.text}"


class ConfigError(Exception):
    """A file that cannot be used.

    Args:
        problems: all mistakes in it.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


_WORDS: Final = {
    "string_type": "must be a string in quotes",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "list_type": "must be a list in brackets",
    "dict_type": "must be a table",
    "dataclass_type": "must be a table",
    "model_attributes_type": "must be a table",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "too_short": "must have {min_length} or more entries",
}

_PARTS: Final = {
    "": Config,
    "server": Server,
    "options": Options,
    "auth": Auth,
    "auth.htpasswd": Htpasswd,
    "auth.rules": AuthRule,
    "auth.token-server": TokenServer,
    "auth.oidc.*": Oidc,
}
"""The tables that have no `kind`."""


def problem_of(file: Path, text: str, document: dict[str, Any], error: ErrorDetails) -> Problem:
    """One of pydantic's errors as a problem."""
    path = _path(document, error["loc"])
    if error["type"] in ("union_tag_not_found", "union_tag_invalid"):
        path.append("kind")
    at = path
    while at and not find(document, at):
        # A missing key is reported on the line of its table.
        at = at[:-1]
    return Problem(file, line_of(text, at), dotted(path), _words(document, path, error))


def _words(document: dict[str, Any], path: list[Key], error: ErrorDetails) -> str:
    kind, context, given = error["type"], error.get("ctx", {}), error["input"]
    match kind:
        case "unexpected_keyword_argument":
            return f"unknown key{_nearest(path[-1], _known_keys(document, path[:-1]))}"
        case "missing" | "missing_argument" | "missing_keyword_only_argument":
            return "is missing"
        case "union_tag_not_found":
            return f"is missing; must be one of {_listed(_kinds())}"
        case "union_tag_invalid":
            return f"unknown kind{_nearest(context['tag'], _kinds())}"
        case "literal_error":
            choices = [choice.strip("'") for choice in context["expected"].replace(" or ", ", ").split(", ")]
            return f"must be one of {_listed(choices)}{_guess(given, choices)}"
        case "value_error":
            return str(context["error"])
    words = _WORDS[kind].format(**context) if kind in _WORDS else "has the wrong type"
    return f"{words}{_not(given)}"


def _not(given: Any) -> str:
    """What the file has instead. A string is not repeated: it may be a secret, such as a URL with a password."""
    match given:
        case bool():
            return f", not {str(given).lower()}"
        case int() | float():
            return f", not {given}"
        case str():
            return ", not a string"
    return ""


def _path(document: Any, location: Sequence[Key]) -> list[Key]:
    """The keys that lead to a value. pydantic's location also has kinds, and `[key]` for a mistake in a key."""
    path: list[Key] = []
    for key in location:
        if isinstance(document, dict) and key not in document and key in (document.get("kind"), "[key]"):
            continue
        path.append(key)
        if find(document, [key]):
            document = document[key]
    return path


def _known_keys(document: Any, path: Sequence[Key]) -> list[str]:
    for key in path:
        document = document[key]
    names = [key for key in path if isinstance(key, str)]
    if names[:2] == ["auth", "oidc"]:
        names[2] = "*"  # the name of a provider
    table = ".".join(names)
    # A registry of a cache may be named so too.
    is_of_store = names[-1:] == ["objects"] and names[-2:-1] != ["hosts"]
    part: Any = Objects if is_of_store else _PARTS.get(table) or _kinds()[document["kind"]]
    return [field.name.replace("_", "-") for field in fields(part)]


@cache
def _kinds() -> dict[str, type[Kind]]:
    union, _ = get_args(Registry)
    return {get_args(get_type_hints(each)["kind"])[0]: each for each in get_args(union)}


def _nearest(word: Key, known: Collection[str]) -> str:
    return _guess(word, known) or f"; must be one of {_listed(known)}"


def _guess(word: Any, known: Collection[str]) -> str:
    close = difflib.get_close_matches(str(word).replace("_", "-").lower(), known, 1)
    return f"; did you mean {close[0]}?" if close else ""


def _listed(words: Collection[str]) -> str:
    return ", ".join(words)


def dotted(path: Sequence[Key]) -> str:
    """A path of keys as a text: `registry.backends[1].data`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{shown(key)}" for key in path)
    return text.removeprefix(".")
