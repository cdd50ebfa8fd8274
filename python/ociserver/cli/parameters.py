"""How every flag is declared: with its environment variable, its default and its section of `--help`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from ociserver.proxies import parse_networks
from ociserver.units import parse_address, parse_duration, parse_port, parse_size
from ociserver.urls import check_host

__all__ = [
    "ADDRESS",
    "DURATION",
    "HOST",
    "NETWORKS",
    "PORT",
    "PREFIX",
    "SIZE",
    "Command",
    "Option",
    "Parsed",
    "environment_variable",
    "option",
]

PREFIX: Final = "OCISERVER_"

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


def environment_variable(flag: str) -> str:
    """The variable that sets a flag: `--max-list-page-size` is OCISERVER_MAX_LIST_PAGE_SIZE."""
    return PREFIX + flag.removeprefix("--").replace("-", "_").upper()


class Parsed(click.ParamType[Any]):
    """The type of a flag whose text is parsed by a function.

    Args:
        parse: raises ValueError with a message for people.
    """

    name = "text"

    def __init__(self, parse: Callable[[str], Any]) -> None:
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


ADDRESS: Final = Parsed(parse_address)
DURATION: Final = Parsed(parse_duration)
NETWORKS: Final = Parsed(parse_networks)
HOST: Final = Parsed(check_host)
PORT: Final = Parsed(parse_port)
SIZE: Final = Parsed(parse_size)


class Option(click.Option):
    """A flag that names its environment variable and belongs to a section of the help."""

    def __init__(self, declarations: list[str], *, section: str, **attributes: Any) -> None:
        flag = next(name for name in declarations if name.startswith("--")).partition("/")[0]
        attributes.setdefault("envvar", environment_variable(flag))
        attributes.setdefault("show_envvar", True)
        attributes.setdefault("show_default", True)
        super().__init__(declarations, **attributes)
        self.section = section


def option(*declarations: str, section: str, **attributes: Any) -> Callable[[_Decorated], _Decorated]:
    """`click.option`, for an `Option`."""
    return click.option(*declarations, cls=Option, section=section, **attributes)


class Command(click.Command):
    """A command whose help lists its flags in sections, in the order in which they are declared."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        # The usage and the text name the arguments. `--help`, the only option without a section, comes last.
        options = [parameter for parameter in self.get_params(ctx) if isinstance(parameter, click.Option)]
        for option in sorted(options, key=lambda option: not isinstance(option, Option)):
            record = option.get_help_record(ctx)
            if record:
                section = option.section if isinstance(option, Option) else "Other"
                sections.setdefault(section, []).append(record)
        for section, records in sections.items():
            with formatter.section(section):
                # Long flags stand on a line of their own, and long variables find room beside the short ones.
                formatter.write_dl(records, col_max=26)
