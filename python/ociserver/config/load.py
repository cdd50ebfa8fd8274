"""From a file to a `Config`, or to all mistakes in the file."""

from __future__ import annotations

import os
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ociserver.config.lines import line_of
from ociserver.config.model import BuildError, Config
from ociserver.config.problems import ConfigError, Problem, dotted, problem_of
from ociserver.interface import Backend

__all__ = ["adapter", "from_document", "load", "load_to_build", "parse"]

_AT = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


@cache
def adapter() -> TypeAdapter[Config]:
    """Parser and schema of the dataclasses, made once."""
    return TypeAdapter(Config)


def load(path: str | os.PathLike[str]) -> Config:
    """Read a configuration file.

    Raises:
        ConfigError: it cannot be read, is not valid TOML, or has a mistake.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError([Problem(file, 1, "", f"cannot be read: {reason}")]) from None
    return parse(text, file)


def load_to_build(path: str | os.PathLike[str]) -> Config:
    """Read a configuration file whose `Config.backend` will be called; see `load`."""
    file = Path(path)
    config = load(file)
    try:
        if config.registry is not None:
            # What the file does not say about stores, flags do. Nothing is opened.
            config.backend(lambda _: Backend())
    except BuildError as error:
        line = line_of(file.read_text(encoding="utf-8"), error.at)
        raise ConfigError([Problem(file, line, dotted(error.at), str(error))]) from None
    return config


def parse(text: str, file: Path) -> Config:
    """Read the text of a configuration file; see `load`.

    Args:
        text: TOML.
        file: its name, for messages. Relative paths in the text start in its folder.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = _AT.search(message)
        line = int(found[1]) if found and found[1] else len(text.splitlines())
        raise ConfigError([Problem(file, line, "", f"is not valid TOML: {_AT.sub('', message)}")]) from None
    return _validated(document, file, text)


def from_document(document: dict[str, Any], folder: Path) -> Config:
    """A configuration whose content comes from elsewhere, in the form of a file; see `load_to_build`.

    Args:
        document: tables by name.
        folder: where relative paths start.
    """
    config = _validated(document, folder / "registry.toml", "")
    try:
        if config.registry is not None:
            config.backend(lambda _: Backend())
    except BuildError as error:
        raise ConfigError([Problem(folder, 1, dotted(error.at), str(error))]) from None
    return config


def _validated(document: dict[str, Any], file: Path, text: str) -> Config:
    try:
        return adapter().validate_python(document, context={"folder": file.parent})
    except ValidationError as error:
        problems = [problem_of(file, text, document, each) for each in error.errors()]
        # `from None`, since the text of the error repeats values.
        raise ConfigError(sorted(problems, key=lambda problem: problem.line)) from None
