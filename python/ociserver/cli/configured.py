"""`--config FILE`: the file as defaults of the flags, and the stores and wrappers that it describes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from ociserver._core import is_repository
from ociserver.cli.errors import WrongConfigError
from ociserver.cli.messages import PUSH, Trial
from ociserver.cli.parameters import option
from ociserver.serve.stores import Store

if TYPE_CHECKING:
    from ociserver.config import Config

__all__ = ["STORE_FLAGS", "Values", "cached", "called", "config_option", "leaves", "read", "together", "trial"]

Values = dict[str, Any]

MAX_SHOWN: Final = 512
"""Characters of an environment variable that a message repeats: a key or a token in the place of a path has more."""

_GIVEN: Final = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)

STORE_FLAGS: Final = (
    "data",
    "memory",
    "memory_limit",
    "durability",
    "group_readable",
    "immutable_tags",
    "lax_child_references",
    "collect_every",
    "unreferenced_after",
    "grace",
    "upload_timeout",
    "delete_untagged_after",
)
"""The flags that describe a store."""


def config_option(section: str) -> Callable[..., Any]:
    """`--config FILE`, read before all other flags: it gives them their defaults."""
    return option(
        "--config",
        section=section,
        type=click.Path(path_type=Path, dir_okay=False),
        is_eager=True,
        callback=_read_defaults,
        metavar="FILE",
        help="TOML file with options, and with what to serve. Flags and their variables override it. "
        "See `ociserver config`.",
    )


def read(path: Path) -> Config:
    """Load a configuration file.

    Raises:
        WrongConfigError: with all that is wrong with it.
    """
    # Not at the top: who serves without a file needs neither this nor the library that checks it.
    from ociserver.config import ConfigError, load_to_build

    try:
        return load_to_build(path)
    except ConfigError as error:
        raise WrongConfigError(str(error)) from error


def _read_defaults(context: click.Context, _: click.Parameter, path: Path | None) -> Config | None:
    if path is None:
        return None
    config = read(path)
    stores = config.leaves()
    context.default_map = _flags(config.server) | _flags(config.options)
    if len(stores) == 1:
        # The only store has flags, as it has without a file.
        context.default_map |= _flags(stores[0])
    return config


def leaves(values: Values) -> list[Values]:
    """The stores to open, each as the flags that would describe it.

    Raises:
        click.UsageError: the flags and the file do not go together.
    """
    config: Config | None = values["config"]
    if config is None or config.registry is None:
        return [values]
    context = click.get_current_context()
    given = [name for name in STORE_FLAGS if context.get_parameter_source(name) in _GIVEN]
    stores = config.leaves()
    if len(stores) == 1:
        if stores[0].kind == "memory" and "data" in given:
            raise click.UsageError("--data does not go with the configuration file, whose store is in memory.")
        return [values]
    if given:
        flag = given[0].replace("_", "-")
        several = f"{len(stores)} stores" if stores else "no store"
        raise click.UsageError(f"--{flag} describes one store, and the configuration file has {several}: set it there.")
    types = {parameter.name: parameter for parameter in context.command.params}
    described = [
        {**values, **{name: types[name].type_cast_value(context, said) for name, said in _flags(store).items()}}
        for store in stores
    ]
    folders = [each["data"].resolve() for each in described if not each["memory"]]
    if len(set(folders)) < len(folders):
        raise click.UsageError("two stores of the configuration file have the same folder: give each its own `data`.")
    return described


def cached(values: Values) -> list[bool]:
    """For each of `leaves` whether it holds what a cache keeps."""
    config: Config | None = values["config"]
    return [False] if config is None or config.registry is None else list(config.cached())


def together(values: Values, stores: Sequence[Store]) -> Store:
    """The stores with what the file puts in front of them."""
    config: Config | None = values["config"]
    if config is None or config.registry is None:
        return stores[0]
    remaining = iter(stores)
    backend = config.backend(lambda _: next(remaining).backend)
    return Store(backend, " and ".join(store.place for store in stores) or "elsewhere: this server has no store")


def called(name: str, value: str) -> str:
    """What a message calls a flag whose value cannot be used.

    A value of the configuration file may come from the environment or from another file, and be anything: it is called
    by its key. That of a variable may be what was meant to be in the file that it should name.

    Args:
        name: of the parameter.
        value: as a message shows it otherwise.
    """
    source = click.get_current_context().get_parameter_source(name)
    if source is ParameterSource.DEFAULT_MAP:
        return f"server.{name.replace('_', '-')} of the configuration file"
    if source is ParameterSource.ENVIRONMENT and (not value.isprintable() or len(value) > MAX_SHOWN):
        return f"--{name.replace('_', '-')}, from its environment variable"
    return value


def trial(values: Values) -> Trial:
    """What to try: a push where one is taken, else a pull."""
    config: Config | None = values["config"]
    if config is None or config.registry is None:
        return PUSH
    registry = config.registry
    for name in registry.to_push():
        if is_repository(name) and registry.takes_push(name):
            return Trial("push", name)
    return Trial("pull", next(registry.to_pull(), ""))


def _flags(part: Any) -> Values:
    """What a table of the file says, as flags say it."""
    said = {field.name: getattr(part, field.name) for field in fields(part)}
    kind = said.pop("kind", None)
    if kind:
        said["memory"] = kind == "memory"
    return {name: value if isinstance(value, bool) else str(value) for name, value in said.items() if value is not None}
