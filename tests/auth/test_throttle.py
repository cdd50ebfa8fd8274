"""How many wrong passwords a network may send."""

from __future__ import annotations

import pytest

from ociserver.auth.throttle import KNOWN_S, MAX_DEBT, Rate, Throttle
from ociserver.errors import OCIError, marshal_error
from tests.auth.clocks import Clock

MANY = Rate(1000, 0.001)


def throttle(clock: Clock, *, per_network: Rate = MANY, **more: int) -> Throttle:
    return Throttle(per_user=Rate(3, 6.0), per_network=per_network, clock=clock, **more)


def wait(throttle: Throttle, user: str, client: str) -> int:
    """Seconds that a client has to wait; 0: it may sign in."""
    try:
        throttle.check(user, client)
    except OCIError as error:
        answer = marshal_error(error)
        assert (answer.status, answer.code) == (429, "TOOMANYREQUESTS")
        return int(answer.headers["Retry-After"])
    return 0


def test_failures_of_a_user() -> None:
    clock = Clock()
    limits = throttle(clock)
    for _ in range(3):
        assert wait(limits, "alice", "192.0.2.1") == 0
        limits.failed("alice", "192.0.2.1")
    assert wait(limits, "alice", "192.0.2.1") == 6
    assert wait(limits, "bob", "192.0.2.1") == 0
    assert wait(limits, "alice", "192.0.2.2") == 0, "nobody can lock a user out of another network"
    clock.now += 5.5
    assert wait(limits, "alice", "192.0.2.1") == 1, "whole seconds, and no less than one"
    clock.now += 0.5
    assert wait(limits, "alice", "192.0.2.1") == 0
    limits.failed("alice", "192.0.2.1")
    assert wait(limits, "alice", "192.0.2.1") == 6
    clock.now += 3 * 6.0
    for _ in range(3):
        assert wait(limits, "alice", "192.0.2.1") == 0
        limits.failed("alice", "192.0.2.1")
    assert wait(limits, "alice", "192.0.2.1") == 6


def test_failures_of_a_network_for_many_users() -> None:
    clock = Clock()
    limits = throttle(clock, per_network=Rate(5, 1.0))
    for number in range(5):
        assert wait(limits, f"user{number}", "192.0.2.1") == 0
        limits.failed(f"user{number}", "192.0.2.1")
    assert wait(limits, "another", "192.0.2.1") == 1
    assert wait(limits, "another", "192.0.2.2") == 0
    clock.now += 1.0
    assert wait(limits, "another", "192.0.2.1") == 0


def test_the_default_limits() -> None:
    clock = Clock()
    limits = Throttle(clock=clock)
    for number in range(50):
        user = f"user{number // 10}"
        assert wait(limits, user, "192.0.2.1") == 0
        limits.failed(user, "192.0.2.1")
        if number == 9:
            assert wait(limits, "user0", "192.0.2.1") == 6
    assert wait(limits, "another", "192.0.2.1") == 1


def test_a_success_forgets_failures_of_the_user_and_not_of_the_network() -> None:
    limits = throttle(Clock(), per_network=Rate(4, 1.0))
    for _ in range(2):
        limits.failed("alice", "192.0.2.1")
    limits.succeeded("alice", "192.0.2.1")
    for _ in range(2):
        assert wait(limits, "alice", "192.0.2.1") == 0
        limits.failed("alice", "192.0.2.1")
    limits.succeeded("alice", "192.0.2.1")
    assert wait(limits, "bob", "192.0.2.1") == 1, "one valid account does not hide the guessing of others"


def test_failures_at_the_same_time_are_a_debt_that_is_bounded() -> None:
    clock = Clock()
    limits = throttle(clock)
    for _ in range(5):
        limits.failed("alice", "")
    assert wait(limits, "alice", "") == 3 * 6
    for _ in range(1000):
        limits.failed("alice", "")
    assert wait(limits, "alice", "") == (MAX_DEBT + 1) * 6, "the debt, and one token to go on"


def test_who_has_signed_in_is_not_locked_out_by_others_in_the_network() -> None:
    clock = Clock()
    limits = throttle(clock, per_network=Rate(50, 1.0))
    limits.succeeded("alice", "192.0.2.1")
    for number in range(100):
        limits.failed(f"user{number}", "192.0.2.1")
    assert wait(limits, "bob", "192.0.2.1") > 0
    assert wait(limits, "alice", "192.0.2.1") == 0
    # The passwords of alice cannot be guessed for that reason.
    for _ in range(10):
        limits.failed("alice", "192.0.2.1")
    assert wait(limits, "alice", "192.0.2.1") > 0
    limits.succeeded("alice", "192.0.2.1")
    clock.now += KNOWN_S
    for number in range(100):
        limits.failed(f"user{number}", "192.0.2.1")
    assert wait(limits, "alice", "192.0.2.1") > 0


@pytest.mark.parametrize(
    "one,other",
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2"),
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("fe80::1%eth0", "fe80::2%eth1"),
        ("", ""),
        ("unix:/run/socket", "unix:/run/socket"),
    ],
)
def test_addresses_of_one_network(one: str, other: str) -> None:
    limits = throttle(Clock())
    for _ in range(3):
        limits.failed("alice", one)
    assert wait(limits, "alice", other) > 0


@pytest.mark.parametrize(
    "one,other",
    [
        ("192.0.2.1", "192.0.2.2"),
        ("2001:db8:0:1::1", "2001:db8:0:2::1"),
        ("192.0.2.1", ""),
        ("", "127.0.0.1"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2"),
    ],
)
def test_addresses_of_two_networks(one: str, other: str) -> None:
    limits = throttle(Clock())
    for _ in range(3):
        limits.failed("alice", one)
    assert wait(limits, "alice", other) == 0


def test_the_size_of_a_network_can_be_chosen() -> None:
    limits = throttle(Clock(), ipv4_prefix=24, ipv6_prefix=48)
    for _ in range(3):
        limits.failed("alice", "192.0.2.1")
        limits.failed("alice", "2001:db8:0:1::1")
    assert wait(limits, "alice", "192.0.2.200") > 0
    assert wait(limits, "alice", "192.0.3.1") == 0
    assert wait(limits, "alice", "2001:db8:0:2::1") > 0
    assert wait(limits, "alice", "2001:db8:1::1") == 0


def test_the_memory_is_bounded_and_the_oldest_failure_is_forgotten() -> None:
    limits = throttle(Clock(), max_entries=2)
    for client in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
        for _ in range(3):
            limits.failed("alice", client)
    assert [wait(limits, "alice", f"192.0.2.{last}") > 0 for last in (1, 2, 3)] == [False, True, True]


def test_user_names_do_not_displace_the_network() -> None:
    limits = throttle(Clock(), per_network=Rate(5, 1.0), max_entries=2)
    for number in range(20):
        limits.failed(f"user{number}", "192.0.2.1")
    assert wait(limits, "alice", "192.0.2.1") > 0
