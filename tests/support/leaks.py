"""No server prints a secret. Whatever starts one in the tests searches what it has printed, also its audit log.

It searches for what the server was given, for what the tests and their clients send (`remember`), and for all that has
the form of a secret.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

__all__ = ["given_secrets", "refuse_secrets", "remember", "watched"]

_SECRET: Final = re.compile(r"password|secret|(?<!api-)keys?$|key.id$|token$", re.IGNORECASE)
"""Names of flags, variables and keys of the configuration that have a secret, or name a file with one."""

_SHORTEST: Final = 8
"""Characters of the shortest secret that is searched for as it is. Shorter ones are words that also mean others."""

_SHORTEST_BASE64: Final = 6
"""Of the base64 of a secret, which is no word."""

_FORMS: Final = tuple(
    re.compile(form)
    for form in (
        rb"eyJ[\w-]{8,}\.eyJ",  # a JSON Web Token
        rb"ociserver_[0-9A-Za-z]{49}",  # an API key
        rb"\$argon2id\$v",
        rb"\$2[aby]\$\d\d\$",
        rb"PRIVATE KEY-----",
        rb"X-Amz-Signature=\w",
        rb"://[^\s/@\"']+:[^\s/@\"'*]+@",  # a URL with a password
        rb"[Bb]asic (?=[a-z+/]*[A-Z0-9])[A-Za-z0-9+/]{10,}",
        rb"[Bb]earer (?=[a-z.+/_~-]*[A-Z0-9])[\w.~+/-]{10,}",
    )
)
"""What no log has, whatever was given and sent."""

_BEGINNINGS: Final = (":eyJhbGciOi", ":eyJ0eXAiOi", ":ociserver_")
"""How tokens and API keys begin that are sent as passwords."""

_remembered: Final[set[bytes]] = set()


def remember(*secrets: str) -> None:
    """From now on, no server of this test run may print one of these, nor its base64 behind a user."""
    for secret in secrets:
        _remembered.update(_needles(secret))


@contextmanager
def watched(
    output: Path, arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Search a file for secrets when the block has ended without an error.

    Args:
        output: where a server prints. It need not exist yet.
        arguments: of `ociserver serve`.
        environment: what the server has as variables, or those of them that a test has set.

    Raises:
        AssertionError: there is a secret.
    """
    given = given_secrets(arguments, environment or {})
    yield
    # Also those of a configuration that was changed, and the key that a server has made.
    given |= given_secrets(arguments, environment or {})
    refuse_secrets(output.read_bytes(), given)


def refuse_secrets(text: bytes, given: Iterable[str] = ()) -> None:
    """Search what a server has printed.

    Raises:
        AssertionError: there is a secret: one of those that were given, one that was sent, or what looks like one.
    """
    for needle in _remembered.union(*map(_needles, given), *map(_base64_of, _BEGINNINGS)):
        _refuse(text, text.find(needle))
    for form in _FORMS:
        found = form.search(text)
        _refuse(text, found.start() if found else -1)


def _refuse(text: bytes, at: int) -> None:
    line = text[text.rfind(b"\n", 0, max(at, 0)) + 1 :].partition(b"\n")[0]
    assert at == -1, f"the server has printed a secret: {line.decode(errors='replace')}"


def _needles(secret: str) -> Iterator[bytes]:
    """How a log could show a secret."""
    content = secret.encode("utf-8", "surrogateescape")
    if len(content) >= _SHORTEST:
        yield from {content, json.dumps(secret)[1:-1].encode(), quote(content, safe="").encode()}
    yield from _base64_of(secret)


def _base64_of(secret: str) -> Iterator[bytes]:
    """The base64 of a user, a colon and a secret, whatever the user is."""
    content = secret.encode("utf-8", "surrogateescape")
    for before in range(3):
        # Without the characters that depend on what is before and behind.
        inner = b64encode(bytes(before) + content)[-(-before * 8 // 6) : (before + len(content)) * 8 // 6]
        if len(inner) >= _SHORTEST_BASE64:
            yield inner


def given_secrets(arguments: Sequence[str], environment: Mapping[str, str]) -> set[str]:
    """What a server gets that is secret: by its arguments, its variables, and the files that these name."""
    return set(_given(arguments, environment))


def _given(arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[str]:
    variables = {**os.environ, **environment}
    for name, value in environment.items():
        if _SECRET.search(name):
            yield from _written(value, Path())
    for flag, value in [*pairwise(arguments), ("--config", environment.get("OCISERVER_CONFIG", ""))]:
        if flag == "--config" and os.path.isfile(value):
            yield from _configured(Path(value), variables)
        elif flag == "--data":
            yield from _configuration("data", value, Path(), variables)
        elif flag.startswith("--") and _SECRET.search(flag):
            yield from _written(value, Path())


def _configured(file: Path, variables: Mapping[str, str]) -> Iterator[str]:
    try:
        table = tomllib.loads(file.read_text())
    except (OSError, ValueError):
        return  # a test of a broken file
    yield from _configuration("", table, file.parent, variables)


def _configuration(name: str, value: Any, folder: Path, variables: Mapping[str, str]) -> Iterator[str]:
    """The secrets of a value of the configuration file, whose key is `name`."""
    match value:
        case {"env": str(variable)} if len(value) == 1:
            yield from _configuration(name, variables.get(variable, ""), folder, variables)
        case {"file": str(file)} if _SECRET.search(name):
            yield from _written(file, folder)
        case dict():
            for key, each in value.items():
                yield from _configuration(key, each, folder, variables)
        case list():
            for each in value:
                yield from _configuration(name, each, folder, variables)
        case str() if name == "data":
            yield from _written("token.key", folder / value)
        case str() if _SECRET.search(name):
            yield from _written(value, folder)
        case str() if "://" in value:
            yield urlsplit(value).password or ""


def _written(value: str, folder: Path) -> Iterator[str]:
    """The lines of a file, or the value itself if it does not name one."""
    path = os.path.join(folder, value)
    if not os.path.isfile(path):
        if not value.endswith((".pem", ".key")):
            yield value
        return
    if not os.access(path, os.R_OK):
        return
    for line in Path(path).read_text(errors="surrogateescape").splitlines():
        if not line.startswith("-----"):
            yield line.strip()
