"""The SQL of API keys. Each public function is one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from ociserver.api_keys import ApiKey
from ociserver.store.transaction import Row, Statement, Transaction

__all__ = [
    "KeyEvent",
    "all_keys",
    "create",
    "find",
    "has_events",
    "key_of",
    "record_use",
    "revoke",
    "select",
    "take_events",
]

_COLUMNS: Final = "name, hash, rights, expires, created, used"


@dataclass(frozen=True, slots=True)
class KeyEvent:
    """A change of the keys, for the audit log of the server.

    Args:
        at: seconds since the epoch.
        event: what has happened.
        name: of the key.
        by: who has done it: a user of the machine.
        facts: more, as JSON values.
    """

    at: int
    event: Literal["key-created", "key-revoked"]
    name: str
    by: str
    facts: Mapping[str, Any]


def select(name: str) -> Statement:
    """The statement that reads a key."""
    return f"SELECT {_COLUMNS} FROM api_keys WHERE name = ?", (name,)


def key_of(row: Row) -> ApiKey:
    """The key of a row of `select`."""
    name, hashed, text, expires, created, used = row
    rights = json.loads(text)
    tags = rights.get("tags")
    return ApiKey(
        name,
        hashed,
        tuple(rights["repositories"]),
        tuple(rights["allow"]),
        None if tags is None else tuple(tags),
        expires,
        created,
        used,
    )


def find(name: str) -> Transaction[ApiKey | None]:
    rows = yield select(name)
    return key_of(rows[0]) if rows else None


def all_keys() -> Transaction[list[ApiKey]]:
    """All keys, by name."""
    rows = yield f"SELECT {_COLUMNS} FROM api_keys ORDER BY name", ()
    return [key_of(row) for row in rows]


def create(key: ApiKey, by: str) -> Transaction[bool]:
    """Add a key. False if there is one with this name."""
    rights: dict[str, Any] = {"repositories": key.repositories, "allow": key.allow}
    if key.tags is not None:
        rights["tags"] = key.tags
    rows = yield (
        "INSERT INTO api_keys (name, hash, rights, expires, created) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (name) DO NOTHING RETURNING name",
        (key.name, key.hash, json.dumps(rights), key.expires, key.created),
    )
    if not rows:
        return False
    facts = rights if key.expires is None else {**rights, "expires": key.expires}
    yield from _record(KeyEvent(key.created, "key-created", key.name, by, facts))
    return True


def revoke(name: str, by: str, now: int) -> Transaction[bool]:
    """Remove a key. False if there is none with this name."""
    rows = yield "DELETE FROM api_keys WHERE name = ? RETURNING name", (name,)
    if not rows:
        return False
    yield from _record(KeyEvent(now, "key-revoked", name, by, {}))
    return True


def record_use(used: Mapping[str, int]) -> Transaction[None]:
    """Record when keys were used, by name. A key that was removed stays removed."""
    for name, at in sorted(used.items()):
        yield "UPDATE api_keys SET used = ? WHERE name = ? AND (used IS NULL OR used < ?)", (at, name, at)


def has_events() -> Transaction[bool]:
    """Whether there are events to take."""
    rows = yield "SELECT 1 FROM api_key_events LIMIT 1", ()
    return bool(rows)


def take_events() -> Transaction[list[KeyEvent]]:
    """Remove the events that no process has written into its log yet, and return them, oldest first."""
    rows = yield "DELETE FROM api_key_events RETURNING id, at, event, name, by_user, facts", ()
    return [KeyEvent(at, event, name, by, json.loads(facts)) for _, at, event, name, by, facts in sorted(rows)]


def _record(event: KeyEvent) -> Transaction[None]:
    yield (
        "INSERT INTO api_key_events (at, event, name, by_user, facts) VALUES (?, ?, ?, ?, ?)",
        (event.at, event.event, event.name, event.by, json.dumps(event.facts)),
    )
