"""`ociserver auth explain`: says which rule of a configuration file allows something, and why the others do not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ociserver._core import is_repository, is_tag
from ociserver.auth.identity import ACTIONS, ANONYMOUS, Action, Identity
from ociserver.cli.configured import read
from ociserver.cli.errors import CommandError
from ociserver.cli.key_folder import folder_in
from ociserver.cli.parameters import Command, option
from ociserver.cli.references import quoted
from ociserver.cli.table import printable
from ociserver.cli.terminal import paint

if TYPE_CHECKING:
    from ociserver.api_keys import ApiKey
    from ociserver.config.auth import Auth
    from ociserver.store import Store

__all__ = ["explain"]

API_KEY: Final = "api-key"
"""The argument USER for the API key X is `api-key:X`."""

NOBODY: Final = "-"
"""The argument USER for a client without credentials."""


@click.command(cls=Command, short_help="Say who may do what, and why.")
@click.argument("user")
@click.argument("action", type=click.Choice(ACTIONS))
@click.argument("target", metavar="REPOSITORY[:TAG]")
@option(
    "--config",
    section="Where the rules are",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE",
    help="Configuration file with the rules.",
)
@option(
    "--claim",
    section="Who asks",
    multiple=True,
    metavar="NAME=VALUE",
    help="Claim of the user's identity provider, for rules with `claims`; repeat the flag for each claim.",
)
@click.pass_context
def explain(
    context: click.Context, *, user: str, action: Action, target: str, config: Path, claim: tuple[str, ...]
) -> None:
    """Say whether USER may do ACTION, which rules allow it, and why the other rules do not.

    \b
    USER    name of a user, with its provider if it has one (github:repo:org/app:...);
            api-key:NAME for an API key; - for a client without credentials
    ACTION  pull; push; create: a push that moves no tag; delete
    TAG     without it: a blob, or a manifest by its digest

    Whether USER exists does not matter. Exit status: 0 allowed; 1 denied; 2 the command line or the file is wrong.
    """
    repository, tag = _target(target)
    if not user:
        raise click.UsageError(f"USER is empty; write {NOBODY} for a client without credentials.")
    found = read(config)
    auth = found.auth
    if auth is None:
        click.echo("allowed: the configuration has no [auth] table, so everybody may do everything")
        return
    if user.startswith(f"{API_KEY}:") and auth.api_keys:
        identity = _key(user.partition(":")[2], folder_in(found, config))
        context.exit(0 if _tell(auth, identity, action, repository, tag, config) else 1)
    if auth.is_unruled:
        click.echo("the configuration has no rules: the tokens of its token server decide alone")
        context.exit(1)
    identity = ANONYMOUS if user == NOBODY else Identity(user, claims=_claims(claim))
    is_allowed = _tell(auth, identity, action, repository, tag, config)
    context.exit(0 if is_allowed else 1)


def _key(name: str, folder: Path) -> Identity:
    """The identity of a key of a store.

    Raises:
        CommandError: there is no such key, or it has expired.
    """
    from ociserver.auth.key_accounts import identity_of
    from ociserver.cli.data import with_store

    async def work(store: Store) -> ApiKey | None:
        return await store.api_keys.find(name)

    key = with_store(folder, work)
    if key is None:
        raise CommandError(f"{folder} has no API key {quoted(name)}. See `ociserver key ls`.")
    if key.expires is not None and key.expires <= time.time():
        raise CommandError(f"the API key {name} has expired.")
    return identity_of(key)


def _claims(texts: tuple[str, ...]) -> dict[str, list[str]]:
    """The claims of the command line. A claim that is given several times is a list."""
    claims: dict[str, list[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise click.UsageError(f"{quoted(text)} is not NAME=VALUE, such as ref=refs/heads/main.")
        claims.setdefault(name, []).append(value)
    return claims


def _target(text: str) -> tuple[str, str | None]:
    """The repository and the tag of an argument."""
    repository, colon, tag = text.partition(":")
    if not is_repository(repository) or (colon and not is_tag(tag)):
        raise click.UsageError(f"{quoted(text)} is not REPOSITORY or REPOSITORY:TAG, such as team/app:v1.")
    return repository, tag if colon else None


def _tell(auth: Auth, identity: Identity, action: Action, repository: str, tag: str | None, file: Path) -> bool:
    """Print the decision with its reasons. Returns whether it is allowed."""
    from ociserver.config.auth import rules_of  # late, as in `configured.read`

    found = rules_of(auth).explain(identity, action, repository, tag)
    who = "a client without credentials" if identity.is_anonymous else printable(identity.name)
    target = repository if tag is None else f"{repository}:{tag}"
    decision, may = ("allowed", "may") if found.is_allowed else ("denied", "may not")
    click.echo(f"{paint(decision, 'good' if found.is_allowed else 'bad')}: {who} {may} {action} {target}")
    if found.groups:
        click.echo(f"  {who} is in {', '.join(map(printable, found.groups))}")
    places = {1: "the key itself"} if identity.own is not None else dict(enumerate(_places(auth, file), 1))
    for number in found.allowing:
        click.echo(f"  {places[number]} allows it")
    for number, reason in found.others.items():
        click.echo(f"  {places[number]} {printable(reason)}")
    return found.is_allowed


def _places(auth: Auth, file: Path) -> Iterator[str]:
    """Each rule, as messages name it: its number, and where it is in the file."""
    from ociserver.config.lines import line_of  # late, for the same reason

    text = file.read_text(encoding="utf-8")
    for number in range(len(auth.rules)):
        yield f"rule {number + 1} ({file}:{line_of(text, ('auth', 'rules', number))})"
