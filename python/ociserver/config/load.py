"""From a file to a `Config`, or to all that is wrong with it."""

from __future__ import annotations

import os
import re
import tomllib
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from ociserver.config.lines import line_of
from ociserver.config.model import BuildError, Config
from ociserver.config.problems import ConfigError, Problem, dotted, problem_of
from ociserver.interface import Backend

__all__ = ["adapter", "load", "load_to_build", "parse"]

_AT = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


@cache
def adapter() -> TypeAdapter[Config]:
    """Parser and schema, made once, of the dataclasses."""
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
    """Read a configuration file that `Config.backend` will be called for; see `load`."""
    file = Path(path)
    config = load(file)
    try:
        if config.registry is not None:
            # Stores have what they lack from flags; nothing is opened.
            config.backend(lambda _: Backend())
    except BuildError as error:
        line = line_of(file.read_text(encoding="utf-8"), error.at)
        raise ConfigError([Problem(file, line, dotted(error.at), str(error))]) from None
    return config


def parse(text: str, file: Path) -> Config:
    """Read the text of a configuration file; see `load`.

    Args:
        text: TOML.
        file: its name, for messages; relative paths in it begin in its folder.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        found = _AT.search(said)
        line = int(found[1]) if found and found[1] else len(text.splitlines())
        raise ConfigError([Problem(file, line, "", f"is not valid TOML: {_AT.sub('', said)}")]) from None
    try:
        return adapter().validate_python(document, context={"folder": file.parent})
    except ValidationError as error:
        problems = [problem_of(file, text, document, each) for each in error.errors()]
        # Not from the error, whose text repeats values.
        raise ConfigError(sorted(problems, key=lambda problem: problem.line)) from None
