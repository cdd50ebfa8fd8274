"""The flags for `ociserver.Options`, made from its fields, so that none is missing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final, get_type_hints

import click

from ociserver.cli.parameters import Option
from ociserver.options import Options
from ociserver.settings import help_of_options

__all__ = ["SECTION", "flags", "names", "options_from"]

SECTION: Final = "How to answer (to behave as other registries do)"

_KINDS: Final = (bool, int, str)
"""The types of options that can be flags. All others are callables, for Python only."""


def flags() -> list[click.Parameter]:
    """One flag for each field of `Options` that is not a callable."""
    texts = help_of_options()
    return [_flag(field, kind, texts.get(field.name, "")) for field, kind in _fields()]


def names() -> list[str]:
    """The names of the parameters that `options_from` reads."""
    return [field.name for field, _ in _fields()]


def options_from(values: Mapping[str, Any]) -> Options:
    """The options that a command line sets, from its parameters by name. Other parameters are ignored.

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
        # An empty default is not shown: a user cannot type it.
        attributes["show_default"] = field.default != ""
    return Option([_flag_name(field), field.name], section=SECTION, **attributes)


def _flag_name(field: dataclasses.Field[Any]) -> str:
    return f"--{field.name.replace('_', '-')}"


def _with_flags(text: str) -> str:
    """A message of `Options`, with the names of flags instead of those of fields."""
    for field, _ in _fields():
        text = text.replace(field.name, _flag_name(field))
    return text
