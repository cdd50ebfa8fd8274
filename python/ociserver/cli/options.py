"""The flags that stand for `ociserver.Options`, made from it, so that none can be forgotten."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, get_type_hints

import click

from ociserver.cli.parameters import Option
from ociserver.options import Options

__all__ = ["SECTION", "flags", "names", "options_from"]

SECTION: Final = "How to answer (to behave as other registries do)"

_KINDS: Final = (bool, int, str)
"""The types of an option that a command line can carry. All others are callables, for Python only."""

_ARGUMENT: Final = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def flags() -> list[click.Parameter]:
    """One flag for each field of `Options` that is not a callable."""
    texts = _texts()
    return [_flag(field, kind, texts.get(field.name, "")) for field, kind in _fields()]


def names() -> list[str]:
    """The parameters that `options_from` reads."""
    return [field.name for field, _ in _fields()]


def options_from(values: Mapping[str, Any]) -> Options:
    """The options that a command line means, from its parameters by name; others are passed over.

    Raises:
        click.UsageError: `Options` refuses a value.
    """
    try:
        return Options(**{field.name: values[field.name] for field, _ in _fields()})
    except ValueError as error:
        raise click.UsageError(_with_flags(f"{error}.")) from error


def _fields() -> Iterator[tuple[dataclasses.Field[Any], type]]:
    types = get_type_hints(Options)
    for field in dataclasses.fields(Options):
        kind = types[field.name]
        if kind in _KINDS:
            yield field, kind


def _flag(field: dataclasses.Field[Any], kind: type, text: str) -> click.Parameter:
    attributes: dict[str, Any] = {"default": field.default, "help": text}
    if kind is bool:
        attributes["is_flag"] = True
    else:
        attributes["type"] = kind
        # An empty text is no text: nothing that a reader of the help could type.
        attributes["show_default"] = field.default != ""
    return Option([_flag_name(field), field.name], section=SECTION, **attributes)


def _flag_name(field: dataclasses.Field[Any]) -> str:
    return f"--{field.name.replace('_', '-')}"


def _with_flags(text: str) -> str:
    """A message of `Options`, with its fields under the names that they have on the command line."""
    for field, _ in _fields():
        text = text.replace(field.name, _flag_name(field))
    return text


def _texts() -> dict[str, str]:
    """What the docstring of `Options` says about each field, which is the one place where it is said."""
    found = _ARGUMENT.findall(inspect.getdoc(Options) or "")
    return {name: _sentence(text) for name, text in found}


def _sentence(text: str) -> str:
    plain = " ".join(text.split()).replace("`", "")
    return plain[:1].upper() + plain[1:]
