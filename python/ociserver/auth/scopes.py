"""Scopes of the Docker token protocol: what a client asks a token for, and what the token says it may be used for.

The source is "Token Scope Documentation" of distribution, https://distribution.github.io/distribution/spec/auth/scope/.
A scope is `type:name:actions`, such as `repository:team/app:pull,push`. The `access` claim of a token has the same
parts, https://distribution.github.io/distribution/spec/auth/jwt/.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from ociserver._core import is_repository
from ociserver.auth.identity import CATALOG, Grants

__all__ = ["MAX_SCOPES", "MAX_SCOPE_BYTES", "access_of", "format_scope", "grants_of", "parse_scopes"]

MAX_SCOPES: Final = 32
"""The most scopes of one request. A push asks for one, and for one more for each repository that it mounts from."""

MAX_SCOPE_BYTES: Final = 3 * 1024
"""The most bytes of all scopes of one request. With `MAX_SCOPES`, the `access` claim takes about 6.5 KB of a token, so
that the token fits into the 8 KiB that proxies accept as a header field."""

_ALL: Final = frozenset({"delete", "pull", "push"})
_CATALOG_ACTIONS: Final = frozenset({"*"})
# distribution ignores the class: `repository(plugin)` is `repository`.
_REPOSITORY: Final = re.compile(r"repository(?:\([a-z0-9]+\))?")


def parse_scopes(
    values: Iterable[str], *, max_scopes: int = MAX_SCOPES, max_bytes: int = MAX_SCOPE_BYTES
) -> dict[str, frozenset[str]]:
    """What the scopes of a request ask for, as `Grants`. Every set in it has a member.

    Types, names and actions that this registry does not have are ignored, as the protocol asks. `*` means every
    action. Spaces beside a comma are tolerated.

    Args:
        values: of the parameter `scope`, which may be repeated. A value is a list of scopes separated by spaces.
        max_scopes: the most scopes, whether they are known or not.
        max_bytes: the most bytes of all values, in UTF-8.

    Raises:
        ValueError: there are too many scopes or bytes. The message does not repeat them.
    """
    grants: dict[str, frozenset[str]] = {}
    scopes = size = 0
    for value in values:
        # No character has less than a byte, so the copy in UTF-8 is bounded too.
        size += len(value) if len(value) > max_bytes else len(value.encode(errors="surrogatepass"))
        if size > max_bytes:
            raise ValueError(f"the scopes have more than {max_bytes} bytes")
        for scope in ",".join(part.strip() for part in value.split(",")).split():
            scopes += 1
            if scopes > max_scopes:
                raise ValueError(f"more than {max_scopes} scopes")
            _add(grants, *_split(scope))
    return grants


def format_scope(grants: Grants) -> str:
    """The scopes that ask for these grants, separated by spaces, in sorted order. "" if there is nothing to ask for."""
    return " ".join(f"{kind}:{name}:{','.join(actions)}" for kind, name, actions in _entries(grants))


def access_of(grants: Grants) -> list[dict[str, Any]]:
    """The `access` claim of a token for these grants, in sorted order."""
    return [{"type": kind, "name": name, "actions": actions} for kind, name, actions in _entries(grants)]


def grants_of(access: object) -> dict[str, frozenset[str]]:
    """The grants of an `access` claim.

    What this registry does not know is ignored, as by `parse_scopes`. None stands for an empty list, here and for the
    actions: token servers in Go write it so.

    Raises:
        ValueError: the claim is not a list of objects with a type, a name and actions. The message does not repeat it.
    """
    grants: dict[str, frozenset[str]] = {}
    for entry in _list(access):
        if not isinstance(entry, dict):
            raise ValueError("an entry of `access` is not an object")
        kind, name, actions = entry.get("type"), entry.get("name"), _list(entry.get("actions"))
        if not all(isinstance(text, str) for text in (kind, name, *actions)):
            raise ValueError("an entry of `access` has a member of the wrong type")
        _add(grants, str(kind), str(name), actions)
    return grants


def _list(value: object) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError("`access` or the actions of an entry of it are not a list")
    return value


def _split(scope: str) -> tuple[str, str, list[str]]:
    # A name may contain a colon, before the port of a host.
    rest, _, actions = scope.rpartition(":")
    kind, _, name = rest.partition(":")
    return kind, name, actions.split(",")


def _add(grants: dict[str, frozenset[str]], kind: str, name: str, actions: Iterable[str]) -> None:
    """Add what a scope asks for, if this registry knows it."""
    asked = frozenset(actions)
    if kind == "registry" and name == "catalog":
        if "*" in asked:
            grants[CATALOG] = _CATALOG_ACTIONS
    elif _REPOSITORY.fullmatch(kind) and is_repository(name):
        known = _ALL if "*" in asked else asked & _ALL
        if known:
            grants[name] = grants.get(name, frozenset()) | known


def _entries(grants: Grants) -> Iterator[tuple[str, str, list[str]]]:
    """Type, name and actions of each grant, in sorted order."""
    for name, actions in sorted(grants.items()):  # CATALOG sorts before every repository
        if name == CATALOG:
            yield "registry", "catalog", ["*"]
        elif actions:
            yield "repository", name, sorted(actions)
