"""`--config FILE`: the file gives the flags their defaults, and describes stores and the backends in front of them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from ociserver._core import is_repository
from ociserver.cli import container
from ociserver.cli.errors import WrongConfigError
from ociserver.cli.messages import PUSH, Trial
from ociserver.cli.parameters import option
from ociserver.interface import Backend
from ociserver.meter import Meter
from ociserver.serve.errors import CannotServeError
from ociserver.serve.replaceable import api_keys_of
from ociserver.serve.stores import Store
from ociserver.settings import TOKEN_KEY_VARIABLE
from ociserver.store.folder import TOKEN_KEY

if TYPE_CHECKING:
    from ociserver.auth import Auth
    from ociserver.config import Config
    from ociserver.store.external import External

__all__ = [
    "STORE_FLAGS",
    "Values",
    "authority",
    "cached",
    "called",
    "config_option",
    "folder",
    "has_users",
    "leaves",
    "place",
    "place_arguments",
    "read",
    "settings_of",
    "together",
    "trial",
    "upload_key",
    "users_file",
]

Values = dict[str, Any]

MAX_SHOWN: Final = 512
"""Maximum characters of an environment variable that a message repeats. A key or token in place of a path is longer."""

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

_OF_FOLDER: Final = ("data", "durability", "group_readable")
"""Those of them that have no effect without a folder."""

_FILE: Final = "ociserver.config"
"""The key, in `click.Context.meta`, of the path of the configuration file."""


def config_option(section: str) -> Callable[..., Any]:
    """`--config FILE`. It is read before all other flags, because it contains their defaults."""
    return option(
        "--config",
        section=section,
        type=click.Path(path_type=Path, dir_okay=False),
        is_eager=True,
        callback=_read_defaults,
        metavar="FILE",
        help="TOML file with settings and with the registry to serve. Flags and their variables override it. "
        "See `ociserver config`.",
    )


def read(path: Path) -> Config:
    """Load a configuration file.

    Raises:
        WrongConfigError: it has mistakes; the message has a line for each.
    """
    # Imported late: a server without a file needs neither this nor the library that checks it.
    from ociserver.config import ConfigError, load_to_build

    try:
        return load_to_build(path)
    except ConfigError as error:
        raise WrongConfigError(str(error)) from error


def _read_defaults(context: click.Context, _: click.Parameter, path: Path | None) -> Config | None:
    path = container.file(path)
    config = container.config() if path is None else read(path)
    if config is None:
        return None
    stores = config.leaves()
    context.meta[_FILE] = path
    context.default_map = container.defaults() | _redirects(stores) | _flags(config.server) | _flags(config.options)
    context.default_map |= _flags(config.telemetry)
    context.default_map |= _flags(config.metrics, "metrics_")
    if len(stores) == 1:
        # If there is only one store, flags apply to it, as without a file.
        context.default_map |= settings_of(stores[0])
    return config


def _redirects(stores: Sequence[Any]) -> Values:
    """`redirect-pulls`, if clients of a store may get its contents from a bucket."""
    buckets = [each.objects for each in stores if each.kind == "store" and each.objects is not None]
    return {"redirect_pulls": True} if any(each.redirect for each in buckets) else {}


def leaves(values: Values) -> list[Values]:
    """The stores to open, each as the flags that would describe it, and with what they cannot describe.

    `external` is what the store has outside of its folder, or None. `table` is its table in the file, as a text, if
    there is a file.

    Raises:
        click.UsageError: the flags contradict the file.
    """
    config: Config | None = values["config"]
    if config is None or config.registry is None:
        return [{**values, "external": None, "table": None}]
    from ociserver.config.problems import dotted  # late, as in `read`

    context = click.get_current_context()
    given = [name for name in STORE_FLAGS if context.get_parameter_source(name) in _GIVEN]
    stores = config.leaves()
    tables = [dotted(each) for each in config.places()]
    if len(stores) == 1:
        if stores[0].kind == "memory" and "data" in given:
            raise click.UsageError(
                "--data cannot be used: the configuration file describes a store in memory. Remove the flag, or set "
                '`kind = "store"` in the file.'
            )
        described = [{**values, "external": _external(values, stores[0]), "table": tables[0]}]
        if folder(described[0]) is None:
            _refuse_flags_of_folder(given)
        return described
    if given:
        flag = given[0].replace("_", "-")
        several = f"{len(stores)} stores, so set it in the file for each" if stores else "none, so remove the flag"
        raise click.UsageError(f"--{flag} applies to a single store, but the configuration file has {several}.")
    types = {parameter.name: parameter for parameter in context.command.params}
    described = [
        {
            **values,
            **{name: types[name].type_cast_value(context, said) for name, said in settings_of(store).items()},
            "table": table,
        }
        for store, table in zip(stores, tables, strict=True)
    ]
    for each, store in zip(described, stores, strict=True):
        each["external"] = _external(each, store)
    _refuse_same_place(described)
    return described


def _external(values: Values, store: Any) -> External | None:
    return None if values["memory"] or store.kind == "memory" else store.external


def _refuse_flags_of_folder(given: Sequence[str]) -> None:
    for name in given:
        if name in _OF_FOLDER:
            raise click.UsageError(
                f"--{name.replace('_', '-')} cannot be used: the store of the configuration file is in a database and "
                "a bucket, and has no folder. Remove the flag, or unset its variable."
            )


def _refuse_same_place(stores: Sequence[Values]) -> None:
    def refuse_same(places: Sequence[Any], what: str, key: str) -> None:
        if any(place in places[:number] for number, place in enumerate(places)):
            raise click.UsageError(
                f"two stores in the configuration file use the same {what}. Set another `{key}` for one."
            )

    folders = [path.resolve() for each in stores if (path := folder(each)) is not None]
    externals: list[External] = [each["external"] for each in stores if each["external"] is not None]
    refuse_same(folders, "folder", "data")
    refuse_same([each.database.url for each in externals if each.database is not None], "database", "database")
    refuse_same([each.objects.url.rstrip("/") for each in externals], "bucket", "objects.url")


def folder(leaf: Values) -> Path | None:
    """The folder of a store; None if it has none."""
    external: External | None = leaf["external"]
    has_none = leaf["memory"] or (external is not None and external.database is not None)
    return None if has_none else leaf["data"]


def place_arguments(leaf: Values) -> list[str]:
    """The arguments that say to another command which store it is. No secret is among them."""
    if leaf["external"] is None:
        return ["--data", str(leaf["data"])]
    # A program that is started reads the file again, and has the same environment.
    return ["--config", str(click.get_current_context().meta[_FILE]), "--store", leaf["table"]]


def cached(values: Values) -> list[bool]:
    """For each of `leaves`, whether it keeps the contents of a cache."""
    config: Config | None = values["config"]
    return [False] if config is None or config.registry is None else list(config.cached())


def together(values: Values, stores: Sequence[Store], meter: Meter | None = None) -> Backend:
    """The stores with the backends that the file puts in front of them.

    Args:
        values: the flags.
        stores: one for each of `leaves`.
        meter: is told of what caches do.
    """
    config: Config | None = values["config"]
    if config is None or config.registry is None:
        return stores[0].backend
    remaining = iter(stores)
    return config.backend(lambda _: next(remaining).backend, meter)


def has_users(values: Values) -> bool:
    """Whether the file says who may do what."""
    config: Config | None = values["config"]
    return config is not None and config.auth is not None


def users_file(values: Values) -> Path | None:
    """The file of users. None: there is none."""
    config: Config | None = values["config"]
    return None if config is None or config.auth is None or config.auth.htpasswd is None else config.auth.htpasswd.file


def authority(values: Values, stores: Sequence[Store], meter: Meter | None = None) -> Auth | None:
    """Who may do what, as the file says. None: everybody may do everything.

    Args:
        values: the flags.
        stores: those of `leaves`.
        meter: is told of sign-ins and tokens.

    Raises:
        CannotServeError: the file of users or the key of tokens cannot be used.
    """
    config: Config | None = values["config"]
    if config is None or config.auth is None:
        return None
    # Imported late: a server without users needs none of it.
    from ociserver.auth.keys import TokenKeys, parse_key
    from ociserver.config.auth import auth_of

    path = next((path for leaf in leaves(values) if (path := folder(leaf)) is not None), None)

    def kept() -> TokenKeys:
        return TokenKeys.generate(path / TOKEN_KEY) if path else TokenKeys([parse_key(os.environ[TOKEN_KEY_VARIABLE])])

    keepers = [keys for store in stores if (keys := api_keys_of(store.backend)) is not None]
    try:
        return auth_of(config.auth, kept, values["workers"], meter, api_keys=keepers[0] if len(keepers) == 1 else None)
    except (ImportError, OSError, ValueError) as error:
        raise CannotServeError(f"auth: {error}") from error


def upload_key(values: Values) -> str:
    """The key of `UPLOAD_KEY_VARIABLE`: derived from the keys of tokens, which all nodes have, or a random one."""
    config: Config | None = values["config"]
    if config is None or config.auth is None or config.auth.token_keys is None:
        return secrets.token_hex(32)
    from ociserver.auth.keys import TokenKeys, parse_key  # late, as in `authority`

    return TokenKeys([parse_key(config.auth.token_keys[0])]).derive(b"uploads elsewhere")[0].hex()


def place(stores: Sequence[Store]) -> str:
    """Where the stores keep their data, for people."""
    return " and ".join(store.place for store in stores) or "elsewhere: this server has no store of its own"


def called(name: str, value: str) -> str:
    """The name by which a message calls a flag whose value cannot be used.

    A value of the configuration file may come from the environment or from another file, and may be a secret. So the
    message shows its key instead. The value of a variable may be a secret by mistake, instead of the file with it.

    Args:
        name: of the parameter.
        value: what the message shows if that is safe.
    """
    source = click.get_current_context().get_parameter_source(name)
    if source is ParameterSource.DEFAULT_MAP:
        return f"server.{name.replace('_', '-')} of the configuration file"
    if source is ParameterSource.ENVIRONMENT and (not value.isprintable() or len(value) > MAX_SHOWN):
        return f"--{name.replace('_', '-')}, from its environment variable"
    return value


def trial(values: Values) -> Trial:
    """What to try first: a push if the registry accepts one, else a pull."""
    config: Config | None = values["config"]
    if config is None or config.registry is None:
        return PUSH
    registry = config.registry
    for name in registry.to_push():
        if is_repository(name) and registry.takes_push(name):
            return Trial("push", name)
    return Trial("pull", next(registry.to_pull(), ""))


def settings_of(store: Any) -> Values:
    """The values of the table of a store, as texts of the flags that describe a store."""
    return {name: value for name, value in _flags(store).items() if name in STORE_FLAGS}


def _flags(part: Any, prefix: str = "") -> Values:
    """The values of a table of the file, as texts of flags, whose names begin with the prefix."""
    table = {prefix + field.name: getattr(part, field.name) for field in fields(part)}
    kind = table.pop("kind", None)
    if kind:
        table["memory"] = kind == "memory"
    present = {name: value for name, value in table.items() if value is not None}
    return {name: _text(value) for name, value in present.items()}


def _text(value: Any) -> Any:
    match value:
        case bool():
            return value
        case list():
            return ",".join(value)
    return str(value)
