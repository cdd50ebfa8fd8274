"""Robots that sign in with an API key, whose rights are its own."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol, cast

from ociserver.api_keys import ApiKey, check_key_name, hash_of, is_secret, new_secret
from ociserver.auth import audit
from ociserver.auth.actions import Action
from ociserver.auth.identity import Identity
from ociserver.auth.rights import OwnRights, Rights
from ociserver.auth.rule import Rule
from ociserver.errors import RegistryError
from ociserver.lru import LRU

if TYPE_CHECKING:
    from ociserver.store.key_rows import KeyEvent

__all__ = ["PROVIDER", "VIA", "KeyAccounts", "KeyStore", "identity_of", "new_api_key", "rule_of"]

VIA: Final = "api-key"
"""`Identity.via` of identities with an API key, also if they come back with a token of it."""

PROVIDER: Final = "api-key"
"""The user of the key `X` is `api-key:X`. No user of a file of passwords has a colon in its name."""

WRITE_AFTER_S: Final = 5.0
"""Seconds after which the store records that keys were used: those of several requests together."""

MAX_KEYS: Final = 4096
"""The most keys whose compiled rights, and whose last use, are remembered."""

MINUTE_S: Final = 60
"""Seconds in which the last use of a key is recorded once."""

_NO_HASH: Final = "0" * 64

_log = logging.getLogger("ociserver.auth")


class KeyStore(Protocol):
    """Keeps the keys: `Store.api_keys`."""

    async def find(self, name: str) -> ApiKey | None:
        """A key by its name, as it is now."""

    def find_nowait(self, name: str) -> ApiKey | None:
        """The same, in any thread. None: there is none, or `find` has to say."""

    async def record_use(self, used: Mapping[str, int]) -> None:
        """Record when keys were used: by name, in seconds since the epoch."""

    async def take_events(self) -> Sequence[KeyEvent]:
        """The changes that no process has taken yet."""

    def version(self) -> bytes | None:
        """A value that differs after every change of any process; None if that is not known."""


class KeyAccounts:
    """The identities of API keys. A key counts as it is in the store at each request.

    There is no throttle: 256 random bits cannot be guessed.

    Args:
        keys: where they are.
        clock: the time in seconds since the epoch.
        write_after_s: seconds after which the store records that keys were used.
    """

    def __init__(
        self, keys: KeyStore, clock: Callable[[], float] = time.time, *, write_after_s: float = WRITE_AFTER_S
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._write_after_s = write_after_s
        self._rights: LRU[str, OwnRights] = LRU(MAX_KEYS)
        self._noted: LRU[str, int] = LRU(MAX_KEYS)
        self._due: dict[str, int] = {}
        self._writing: asyncio.Task[None] | None = None
        self._auditing: asyncio.Task[None] | None = None
        self._version: bytes | None = None

    @staticmethod
    def takes(password: str) -> bool:
        """Whether a password has the form of the secret of a key, so that no other account is asked."""
        return is_secret(password)

    async def sign_in(self, name: str, secret: str) -> Identity | None:
        """The identity of a key. None: the name or the secret is wrong, or the key was revoked or has expired."""
        key = await self._keys.find(name)
        is_right = hmac.compare_digest(hash_of(secret), _NO_HASH if key is None else key.hash)
        if key is None or not is_right or self._has_expired(key):
            return None
        return self._identity(key)

    async def of_token(self, subject: str, stamp: str) -> Identity | None:
        """The identity of the key that a token was given for, without the token's grants.

        None: the key is not there any more, has expired, or is another one.
        """
        provider, _, name = subject.partition(":")
        key = await self._keys.find(name) if provider == PROVIDER else None
        if key is None or not hmac.compare_digest(key.stamp, stamp) or self._has_expired(key):
            return None
        return self._identity(key)

    async def is_current(self, identity: Identity) -> bool:
        """Whether the key of an identity is still there, with the same secret and rights."""
        own = identity.own
        if own is None:
            return True
        key = await self._keys.find(own.key.name)
        if key is None or key != own.key:
            return False
        self._note(key)
        return True

    def state(self) -> object:
        """A value that differs after every change of the keys, and in every minute. None: that is not known."""
        version = self._keys.version()
        return None if version is None else (version, self._minute())

    def is_current_nowait(self, identity: Identity) -> bool:
        """The same, in any thread, without a read of the database as long as nothing was committed.

        False: `is_current` has to say. That is so once a minute too, to record the use of the key.
        """
        own = identity.own
        if own is None:
            return True
        name = own.key.name
        return self._noted.peek(name) == self._minute() and self._keys.find_nowait(name) == own.key

    def look(self) -> None:
        """Write the changes of keys, which other programs make, into the audit log, soon. On the event loop."""
        version = self._keys.version()
        if version is not None and version == self._version:
            return
        if self._auditing is None or self._auditing.done():
            self._version = version
            self._auditing = asyncio.create_task(self._audit())

    async def aclose(self) -> None:
        """Record the last uses. The store must be open."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.cancel()
            await asyncio.wait([writing])
        if self._auditing is not None:
            await asyncio.wait([self._auditing])
        await self._write()

    def _identity(self, key: ApiKey) -> Identity:
        self._note(key)
        own = self._rights.get(key.stamp)
        if own is None:
            own = _own(key)
            self._rights.put(key.stamp, own)
        return _of(own)

    def _has_expired(self, key: ApiKey) -> bool:
        return key.expires is not None and key.expires <= self._clock()

    def _minute(self) -> int:
        return int(self._clock()) // MINUTE_S * MINUTE_S

    def _note(self, key: ApiKey) -> None:
        """Remember that a key is used, and record it later, unless it was recorded in this minute."""
        minute = self._minute()
        if self._noted.peek(key.name) == minute:
            return
        self._noted.put(key.name, minute)
        if key.used is not None and key.used >= minute:
            return
        self._due[key.name] = minute
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_later())

    async def _write_later(self) -> None:
        while self._due:
            await asyncio.sleep(self._write_after_s)
            await self._write()

    async def _write(self) -> None:
        due, self._due = self._due, {}
        if not due:
            return
        try:
            await self._keys.record_use(due)
        except (RegistryError, RuntimeError) as error:
            # The disk is full, or the store was closed. The next minute in which a key is used is another try.
            _log.warning("the last use of API keys was not recorded: %s", error)

    async def _audit(self) -> None:
        try:
            for event in await self._keys.take_events():
                audit.record(event.event, key=event.name, by=event.by, at=event.at, **event.facts)
        except (RegistryError, RuntimeError) as error:
            _log.warning("the changes of API keys are not in the audit log yet: %s", error)
            self._version = None


def identity_of(key: ApiKey) -> Identity:
    """The identity of a key, whether it has expired or not."""
    return _of(_own(key))


def _own(key: ApiKey) -> OwnRights:
    rule = rule_of(key)
    return OwnRights(rule, Rights.of([rule]), key)


def _of(own: OwnRights) -> Identity:
    expires = None if own.key.expires is None else float(own.key.expires)
    return Identity(f"{PROVIDER}:{own.key.name}", via=VIA, expires=expires, own=own)


def new_api_key(
    name: str,
    *,
    repositories: Sequence[str],
    allow: Sequence[str],
    tags: Sequence[str] | None = None,
    lifetime_s: float | None = None,
) -> tuple[ApiKey, str]:
    """A new key for `Store.api_keys.create`, and its secret, which is kept nowhere.

    Args:
        name: of the key, which clients send as their user name.
        repositories: patterns of the repositories that it is for.
        allow: the actions, as in a `Rule`.
        tags: patterns of the tags that it is limited to. None: no limit.
        lifetime_s: seconds that it is valid. None: for ever.

    Raises:
        ValueError: no key can have this name, or a rule with these rights is wrong.
    """
    secret, now = new_secret(), int(time.time())
    key = ApiKey(
        check_key_name(name),
        hash_of(secret),
        tuple(repositories),
        tuple(allow),
        None if tags is None else tuple(tags),
        None if lifetime_s is None else now + int(lifetime_s),
        now,
    )
    rule_of(key)
    return key, secret


def rule_of(key: ApiKey) -> Rule:
    """What a key may do.

    Raises:
        ValueError: it names an unknown action or a text that is not a pattern, or nothing.
    """
    return Rule(
        authenticated=True, repositories=key.repositories, allow=cast("tuple[Action, ...]", key.allow), tags=key.tags
    )
