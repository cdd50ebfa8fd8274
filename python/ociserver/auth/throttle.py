"""Slows down the guessing of passwords: how many failures a network may have, for one user and in all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final, Generic, TypeVar

from ociserver.errors import OCIError
from ociserver.lru import LRU

__all__ = ["MAX_ENTRIES", "PER_NETWORK", "PER_USER", "Rate", "Throttle"]

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Rate:
    """How many failures are allowed.

    Args:
        burst: failures at once; at least 1.
        every_s: seconds after which one more is allowed.
    """

    burst: int
    every_s: float


PER_USER: Final = Rate(10, 6.0)
"""Failures for one user from one network. A person mistypes a password a few times, and a tool that makes several
requests at once repeats a mistake for each. 10 a minute are 14,400 guesses a day, which no good password fears."""

PER_NETWORK: Final = Rate(50, 1.0)
"""Failures from one network for all users together. An office behind one address has many people, but a list of stolen
passwords has millions of lines."""

MAX_ENTRIES: Final = 16_384
"""Networks, and pairs of a user and a network, that are remembered: some MB. The one that failed longest ago is
forgotten first."""

MAX_DEBT: Final = 64
"""Failures that a bucket remembers beyond its burst: more than passwords are checked, or wait for it, in a process."""

KNOWN_S: Final = 24 * 3600.0
"""Seconds for which a user counts as known in a network after a sign-in."""

IPV4_PREFIX: Final = 32
IPV6_PREFIX: Final = 64
"""Bits of an address that name a network: one IPv4 address; in IPv6, a customer has at least a /64 (RFC 6177)."""

_KEY_SIZE: Final = 255
"""Characters of a user's name or of a client's address that count, so that the size of the memory is bounded."""


class Throttle:
    """Token buckets, one for each network and one for each user in a network. For the event loop.

    Checks that run at the same time may all fail although the bucket has one token left. The bucket remembers this as a
    debt, up to `MAX_DEBT` tokens, which are more than checks can run at the same time.

    A user who has signed in from a network is not counted with the others of this network for `KNOWN_S`: somebody who
    guesses the passwords of others there does not lock them out.

    Args:
        per_user: failures of one user from one network.
        per_network: failures of one network for all users together.
        ipv4_prefix: bits of an IPv4 address that name a network.
        ipv6_prefix: bits of an IPv6 address that name a network.
        max_entries: networks, and pairs of a user and a network, that are remembered.
        clock: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        *,
        per_user: Rate = PER_USER,
        per_network: Rate = PER_NETWORK,
        ipv4_prefix: int = IPV4_PREFIX,
        ipv6_prefix: int = IPV6_PREFIX,
        max_entries: int = MAX_ENTRIES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ipv4_prefix = ipv4_prefix
        self._ipv6_prefix = ipv6_prefix
        # Two maps, so that many user names from one network do not displace the networks.
        self._users: _Buckets[tuple[str, str]] = _Buckets(per_user, max_entries, clock)
        self._networks: _Buckets[str] = _Buckets(per_network, max_entries, clock)
        self._known_until: LRU[tuple[str, str], float] = LRU(max_entries)
        self._clock = clock

    def check(self, user: str, client: str) -> None:
        """Refuse a sign-in if too many have failed. To be called before the password is checked.

        Args:
            user: the name that the client claims, known or not.
            client: the address of the client; "" if unknown. All clients without an address are one network.

        Raises:
            OCIError: TOOMANYREQUESTS with `Retry-After` in whole seconds.
        """
        network = self._network(client)
        pair = user[:_KEY_SIZE], network
        wait = self._users.wait(pair)
        if self._clock() >= (self._known_until.peek(pair) or 0.0):
            wait = max(wait, self._networks.wait(network))
        if wait > 0:
            seconds = max(math.ceil(wait), 1)
            raise OCIError(
                "TOOMANYREQUESTS",
                f"too many failed sign-ins; try again in {seconds} s",
                headers={"Retry-After": str(seconds)},
            )

    def failed(self, user: str, client: str) -> None:
        """Count a wrong password, or an unknown user."""
        network = self._network(client)
        self._users.take((user[:_KEY_SIZE], network))
        self._networks.take(network)

    def succeeded(self, user: str, client: str) -> None:
        """Forget the failures of this user from this network.

        Those of the network stay, or else somebody with one valid account could guess the passwords of all others.
        """
        pair = user[:_KEY_SIZE], self._network(client)
        self._users.fill(pair)
        self._known_until.put(pair, self._clock() + KNOWN_S)

    def _network(self, client: str) -> str:
        try:
            address = ip_address(client.partition("%")[0])
        except ValueError:
            return client[:_KEY_SIZE]  # a name, or the path of a socket
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        prefix = self._ipv6_prefix if isinstance(address, IPv6Address) else self._ipv4_prefix
        return str(ip_network((address, prefix), strict=False))


class _Buckets(Generic[Key]):
    """Token buckets of one rate. Of each it keeps the time at which it is full again; a full one is no entry."""

    def __init__(self, rate: Rate, max_entries: int, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._full_at: LRU[Key, float] = LRU(max_entries)

    def wait(self, key: Key) -> float:
        """Seconds until the bucket has a token; 0 or less: it has one."""
        full_at = self._full_at.peek(key)
        if full_at is None:
            return 0.0
        return full_at - self._clock() - (self._rate.burst - 1) * self._rate.every_s

    def take(self, key: Key) -> None:
        """Take a token, or go into debt."""
        now = self._clock()
        full_at = max(self._full_at.peek(key) or now, now) + self._rate.every_s
        self._full_at.put(key, min(full_at, now + (self._rate.burst + MAX_DEBT) * self._rate.every_s))

    def fill(self, key: Key) -> None:
        """Fill the bucket."""
        self._full_at.pop(key)
