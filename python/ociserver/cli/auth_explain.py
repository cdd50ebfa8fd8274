"""`ociserver auth explain`: says which rule of a configuration file allows something, and why the others do not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ociserver._core import is_repository, is_tag
from ociserver.auth.identity import ACTIONS, ANONYMOUS, Action, Identity
from ociserver.cli.auth_decision import Question, tell, tell_as_json, tell_without_rules
from ociserver.cli.configured import read
from ociserver.cli.data import Place, place_in, with_store
from ociserver.cli.errors import CommandError
from ociserver.cli.parameters import Command, option
from ociserver.cli.references import quoted
from ociserver.cli.registries import json_option

if TYPE_CHECKING:
    from ociserver.api_keys import ApiKey
    from ociserver.store import Store

__all__ = ["explain"]

API_KEY: Final = "api-key"
"""The argument USER for the API key X is `api-key:X`."""

NOBODY: Final = "-"
"""The argument USER for a client without credentials."""

_NO_TABLE: Final = "the configuration has no [auth] table, so everybody may do everything"
_NO_RULES: Final = "the configuration has no rules: the tokens of its token server decide alone"


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
@json_option("the decision and its reasons")
@click.pass_context
def explain(
    context: click.Context,
    *,
    user: str,
    action: Action,
    target: str,
    config: Path,
    claim: tuple[str, ...],
    as_json: bool,
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
    is_key = auth is not None and auth.api_keys and user.startswith(f"{API_KEY}:")
    if is_key:
        identity = _key(user.partition(":")[2], place_in(found, config))
    else:
        identity = ANONYMOUS if user == NOBODY else Identity(user, claims=_claims(claim))
    question = Question(identity, action, repository, tag)
    if auth is None:
        tell_without_rules(question, _NO_TABLE, is_allowed=True, as_json=as_json)
        return
    if auth.is_unruled and not is_key:
        tell_without_rules(question, _NO_RULES, is_allowed=None, as_json=as_json)
        context.exit(1)
    from ociserver.config.auth import rules_of  # late, as in `configured.read`

    explanation = rules_of(auth).explain(identity, action, repository, tag)
    (tell_as_json if as_json else tell)(question, explanation, auth, config)
    context.exit(0 if explanation.is_allowed else 1)


def _key(name: str, place: Place) -> Identity:
    """The identity of a key of a store.

    Raises:
        CommandError: there is no such key, or it has expired.
    """
    from ociserver.auth.key_accounts import identity_of

    async def work(store: Store) -> ApiKey | None:
        return await store.api_keys.find(name)

    key = with_store(place, work)
    if key is None:
        raise CommandError(f"{place} has no API key {quoted(name)}. See `ociserver key ls`.")
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
