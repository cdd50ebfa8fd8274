"""What `ociserver auth explain` prints about a decision: lines for people, or JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ociserver.auth.identity import Action, Identity
from ociserver.cli.table import printable
from ociserver.cli.terminal import paint

if TYPE_CHECKING:
    from ociserver.auth.rules import Explanation
    from ociserver.config.auth import Auth

__all__ = ["Question", "tell", "tell_as_json", "tell_without_rules"]


@dataclass(frozen=True, slots=True)
class Question:
    """Whether a user may do something.

    Args:
        identity: the user.
        action: what to do.
        repository: where.
        tag: None for a blob, or a manifest by its digest.
    """

    identity: Identity
    action: Action
    repository: str
    tag: str | None


@dataclass(frozen=True, slots=True)
class _Reason:
    """What one rule says. `rule` and `line` are None for the rights of an API key. `text` is None if it allows."""

    rule: int | None
    line: int | None
    text: str | None


def tell(question: Question, found: Explanation, auth: Auth, file: Path) -> None:
    """Print the decision, and what each rule says. The rules that allow it are first."""
    who = "a client without credentials" if question.identity.is_anonymous else printable(question.identity.name)
    target = question.repository if question.tag is None else f"{question.repository}:{question.tag}"
    decision, may = ("allowed", "may") if found.is_allowed else ("denied", "may not")
    click.echo(f"{paint(decision, 'good' if found.is_allowed else 'bad')}: {who} {may} {question.action} {target}")
    if found.groups:
        click.echo(f"  {who} is in {', '.join(map(printable, found.groups))}")
    for reason in sorted(_reasons(question, found, auth, file), key=lambda one: one.text is not None):
        place = "the key itself" if reason.rule is None else f"rule {reason.rule} ({file}:{reason.line})"
        click.echo(f"  {place} {'allows it' if reason.text is None else printable(reason.text)}")


def tell_as_json(question: Question, found: Explanation, auth: Auth, file: Path) -> None:
    """Print the same as a JSON object. The rules are in their order."""
    rules = [
        {"rule": reason.rule, "line": reason.line, "allows": reason.text is None, "reason": reason.text}
        for reason in _reasons(question, found, auth, file)
    ]
    _print(question, is_allowed=found.is_allowed, groups=found.groups, rules=rules)


def tell_without_rules(question: Question, reason: str, *, is_allowed: bool | None, as_json: bool) -> None:
    """Print why no rule decides. `is_allowed` is None if the tokens of another server decide."""
    if as_json:
        _print(question, is_allowed=is_allowed, reason=reason)
    else:
        click.echo(f"allowed: {reason}" if is_allowed else reason)


def _print(
    question: Question,
    *,
    is_allowed: bool | None,
    groups: tuple[str, ...] = (),
    rules: list[dict[str, Any]] | None = None,
    reason: str | None = None,
) -> None:
    facts = {
        "allowed": is_allowed,
        "user": None if question.identity.is_anonymous else question.identity.name,
        "action": question.action,
        "repository": question.repository,
        "tag": question.tag,
        "groups": groups,
        "rules": rules or [],
        "reason": reason,
    }
    click.echo(json.dumps(facts))


def _reasons(question: Question, found: Explanation, auth: Auth, file: Path) -> Iterator[_Reason]:
    """What each rule says, in their order."""
    if question.identity.own is not None:
        yield _Reason(None, None, found.others.get(1))
        return
    from ociserver.config.lines import line_of  # late, as in `configured.read`

    text = file.read_text(encoding="utf-8")
    for number in range(1, len(auth.rules) + 1):
        yield _Reason(number, line_of(text, ("auth", "rules", number - 1)), found.others.get(number))
