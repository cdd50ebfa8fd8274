"""`ociserver key`: makes, lists and revokes the API keys of a registry."""

from __future__ import annotations

import getpass
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from ociserver.api_keys import ApiKey, check_key_name
from ociserver.auth.key_accounts import new_api_key
from ociserver.cli.configured import read
from ociserver.cli.data import Place, place_of, store_options, with_store
from ociserver.cli.errors import CommandError
from ociserver.cli.parameters import Command, Parsed, option
from ociserver.cli.registries import json_option
from ociserver.cli.table import printable, rows_of
from ociserver.store import Store
from ociserver.units import parse_duration

__all__ = ["key"]

_WHAT: Final = "What the key may do"
_NEVER: Final = "never"


def _expiry(text: str) -> float | None:
    """Seconds, or None for no end."""
    if text == _NEVER:
        return None
    seconds = parse_duration(text)
    if seconds < 1:
        raise ValueError("a key must be valid for 1 second or more.")
    return seconds


def _key_name(text: str) -> str:
    try:
        return check_key_name(text)
    except ValueError as error:
        raise ValueError(f"{error}.") from None


NAME: Final = click.argument("name", type=Parsed(_key_name))


def _keeper(data: Path, config: Path | None, table: str | None) -> Place:
    """The store that keeps the keys. Warns if the server refuses them."""
    if config is not None:
        auth = read(config).auth
        if auth is None or not auth.api_keys:
            click.echo(f"{config}: keys are refused: set `api-keys = true` in [auth]", err=True)
    return place_of(data, config, table)


@click.group(short_help="API keys for robots: make, list and revoke them.")
def key() -> None:
    """Make, list and revoke the API keys of a registry, while a server runs or not.

    The server accepts them with `api-keys = true` in [auth] of its configuration file.
    """


@key.command(cls=Command, short_help="Make a key, and print it once.")
@NAME
@option(
    "--repositories",
    section=_WHAT,
    required=True,
    multiple=True,
    metavar="PATTERNS",
    help="Patterns of the repositories, such as 'team/*', separated by commas.",
)
@option(
    "--allow",
    section=_WHAT,
    required=True,
    multiple=True,
    metavar="ACTIONS",
    help="The actions, separated by commas: pull, push, create (a push that moves no tag), delete.",
)
@option(
    "--tags",
    section=_WHAT,
    multiple=True,
    metavar="PATTERNS",
    help="Patterns of the tags that the key is limited to, separated by commas. By default all.",
)
@option(
    "--expires",
    section=_WHAT,
    type=Parsed(_expiry),
    default="90d",
    metavar="DURATION",
    help=f"How long the key is valid, such as 12h or 90d; or {_NEVER}.",
)
@store_options
@json_option("the key and its facts")
def create(
    *,
    name: str,
    repositories: tuple[str, ...],
    allow: tuple[str, ...],
    tags: tuple[str, ...],
    expires: float | None,
    data: Path,
    config: Path | None,
    table: str | None,
    as_json: bool,
) -> None:
    """Make the key NAME, and print it. It is kept only as a hash, so it cannot be printed again.

    \b
    ociserver key create ci-app --repositories 'team/*' --allow pull,push > ci-app.key
    docker login registry.example -u ci-app --password-stdin < ci-app.key
    """
    try:
        made, secret = new_api_key(
            name,
            repositories=_split(repositories),
            allow=_split(allow),
            tags=_split(tags) or None,
            lifetime_s=expires,
        )
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None

    async def work(store: Store) -> bool:
        return await store.api_keys.create(made, by=_user())

    if not with_store(_keeper(data, config, table), work):
        raise CommandError(f"there is a key {name} already. Revoke it first, or choose another name.")
    if as_json:
        click.echo(json.dumps({**_facts(made), "key": secret}))
        return
    click.echo(f"{name}: {_rights(made)}, {_until(made)}. The key is printed only now:", err=True)
    click.echo(secret)


@key.command("ls", cls=Command, short_help="List the keys.")
@store_options
@json_option("a list")
def list_keys(*, data: Path, config: Path | None, table: str | None, as_json: bool) -> None:
    """List the keys with their rights, when they end, and when they were last used. No key is printed."""

    async def work(store: Store) -> list[ApiKey]:
        return await store.api_keys.all()

    keys = with_store(_keeper(data, config, table), work)
    if as_json:
        click.echo(json.dumps([_facts(each) for each in keys]))
        return
    if not keys:
        click.echo("there are no keys")
        return
    head = ("name", "rights", "valid", "created", "last used")
    rows = [(each.name, _rights(each), _until(each), _time(each.created), _time(each.used)) for each in keys]
    for line in rows_of([head, *rows]):
        click.echo(printable(line))


@key.command(cls=Command, short_help="Revoke a key, at once.")
@NAME
@store_options
def revoke(*, name: str, data: Path, config: Path | None, table: str | None) -> None:
    """Revoke the key NAME. From now on every server on the store refuses it, and all tokens that it was given."""

    async def work(store: Store) -> bool:
        return await store.api_keys.revoke(name, by=_user())

    if not with_store(_keeper(data, config, table), work):
        raise CommandError(f"there is no key {name}. See `ociserver key ls`.")
    click.echo(f"{name} is revoked")


def _split(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part.strip() for value in values for part in value.split(",") if part.strip())


def _user() -> str:
    """The user of this machine, for the audit log."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def _rights(each: ApiKey) -> str:
    tags = "" if each.tags is None else f", tags {', '.join(each.tags)}"
    return f"{', '.join(each.allow)} in {', '.join(each.repositories)}{tags}"


def _until(each: ApiKey) -> str:
    if each.expires is None:
        return "for ever"
    state = "expired" if each.expires <= time.time() else "until"
    return f"{state} {_time(each.expires)}"


def _time(seconds: int | None) -> str:
    return "-" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _facts(each: ApiKey) -> dict[str, Any]:
    return {
        "name": each.name,
        "repositories": each.repositories,
        "allow": each.allow,
        "tags": each.tags,
        "created": each.created,
        "expires": each.expires,
        "last_used": each.used,
    }
