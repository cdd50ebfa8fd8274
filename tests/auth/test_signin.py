"""Signing in with a password: who gets in, what an answer tells, and what it costs the server."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ociserver.auth.hashing import Hashing
from ociserver.auth.htpasswd import HtpasswdFile
from ociserver.auth.passwords import MAX_PASSWORD_SIZE, PasswordHash
from ociserver.auth.signin import PasswordSignIn
from ociserver.auth.throttle import Rate, Throttle
from ociserver.errors import OCIError, marshal_error
from tests.auth.clocks import Clock
from tests.auth.hashes import argon2id_line, bcrypt_line

pytestmark = pytest.mark.anyio

MANY = Rate(100, 1.0)
CLIENT = "192.0.2.1"
ALICE, BOB = "al1ce-s3cret", "b0b-s3cret"


class Counted(Hashing):
    """Hashing that notes against which hash each password was checked."""

    def __init__(self, threads: int = 2, waiting: int = 16) -> None:
        super().__init__(threads, waiting)
        self.against: list[PasswordHash] = []

    async def run(self, verify: Callable[[], bool]) -> bool:
        assert isinstance(verify, partial)
        method: Any = verify.func
        self.against.append(method.__self__)
        return await super().run(verify)


class Place:
    """A sign-in with all of its parts, and a clock for all of them."""

    def __init__(self, path: Path, text: str, hashing: Counted | None = None, rate: Rate = MANY) -> None:
        path.write_text(text)
        self.path = path
        self.clock = Clock()
        self.file = HtpasswdFile(path, clock=self.clock)
        self.file.load()
        self.hashing = hashing or Counted()
        throttle = Throttle(per_user=rate, clock=self.clock)
        self.signin = PasswordSignIn(self.file, self.hashing, throttle, clock=self.clock)

    async def verify(self, user: str, password: str, client: str = CLIENT) -> bool:
        return await self.signin.verify(user, password, client)

    def rewrite(self, text: str) -> None:
        self.path.write_text(text)
        self.clock.now += 1.0

    @property
    def count(self) -> int:
        return len(self.hashing.against)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(tmp_path / "users", bcrypt_line("alice", ALICE) + argon2id_line("bob", BOB))
    yield place
    await place.hashing.close()


async def test_who_gets_in(place: Place) -> None:
    assert await place.verify("alice", ALICE)
    assert await place.verify("bob", BOB)
    for user, password in (("alice", BOB), ("bob", ALICE), ("Alice", ALICE), ("carol", ALICE), ("", ""), ("alice", "")):
        assert not await place.verify(user, password)


async def test_an_unknown_user_costs_as_much_as_the_most_expensive_one(tmp_path: Path) -> None:
    text = bcrypt_line("alice", ALICE, 6) + bcrypt_line("dave", ALICE, 6) + argon2id_line("bob", BOB)
    place = Place(tmp_path / "users", text)
    for user in ("alice", "carol", "dave", "mallory"):
        assert not await place.verify(user, "wrong")
    # One check for each, with the same parameters, and a hash of the same form.
    assert [repr(one) for one in place.hashing.against] == ["BcryptHash(cost=6)"] * 4
    alice, carol, _, mallory = place.hashing.against
    assert carol == mallory == place.file.snapshot.dummy != alice
    assert not await place.verify("bob", "wrong")
    assert place.hashing.against[-1] == place.file.snapshot.hash_of("bob")
    await place.hashing.close()


@pytest.mark.parametrize("password", ["wrong\0", f"{ALICE}\0", "x" * (MAX_PASSWORD_SIZE + 1), "\ud800"])
async def test_passwords_that_nobody_can_have_are_refused_for_all_users_alike(place: Place, password: str) -> None:
    for user in ("alice", "bob", "carol"):
        assert not await place.verify(user, password)
    assert place.count == 0


async def test_bytes_that_are_not_utf_8(tmp_path: Path) -> None:
    line = bcrypt_line("alice", "pässword")
    place = Place(tmp_path / "users", line)
    assert await place.verify("alice", "pässword")
    assert not await place.verify("alice", "pässword".encode("latin-1").decode("utf-8", "surrogateescape"))
    assert not await place.verify("al\udce4ce", "pässword")
    await place.hashing.close()


async def test_a_right_password_is_remembered_for_a_while(place: Place) -> None:
    for _ in range(3):
        assert await place.verify("alice", ALICE)
    assert place.count == 1
    assert not await place.verify("alice", BOB)
    assert not await place.verify("bob", ALICE)
    place.clock.now += 59.0
    assert await place.verify("alice", ALICE)
    assert place.count == 3
    place.clock.now += 1.0
    for _ in range(2):
        assert await place.verify("alice", ALICE)
    assert place.count == 4


async def test_the_same_wrong_password_is_checked_once_for_a_while(place: Place) -> None:
    """Whether the user exists or not."""
    for user in ("alice", "carol"):
        for _ in range(3):
            assert not await place.verify(user, "wrong")
    assert place.count == 2
    place.clock.now += 60.0
    assert not await place.verify("alice", "wrong")
    assert place.count == 3
    place.rewrite(bcrypt_line("alice", "wrong"))
    assert await place.verify("alice", "wrong"), "a new hash is another password"


async def test_user_and_password_do_not_run_into_each_other(tmp_path: Path) -> None:
    # Two users with the same line, so that nothing but name and password differs.
    line = bcrypt_line("ab", "cd")
    place = Place(tmp_path / "users", line + line[:1] + line[2:])
    assert await place.verify("ab", "cd")
    assert not await place.verify("a", "bcd")
    await place.hashing.close()


async def test_a_new_password_ends_the_old_one_at_once(place: Place) -> None:
    assert await place.verify("alice", ALICE)
    place.rewrite(bcrypt_line("alice", BOB))
    assert not await place.verify("alice", ALICE)
    assert await place.verify("alice", BOB)
    assert not await place.verify("bob", BOB), "who is gone from the file is gone"


async def test_a_password_that_is_changed_while_it_is_checked(place: Place) -> None:
    answer = asyncio.ensure_future(place.verify("alice", ALICE))
    await asyncio.sleep(0)
    place.rewrite(bcrypt_line("alice", BOB))
    assert place.file.refresh()
    assert not await answer


async def test_a_broken_file_lets_the_old_users_in_and_nobody_else(place: Place) -> None:
    place.rewrite("mallory:x\n")
    assert await place.verify("alice", ALICE)
    assert not await place.verify("mallory", "x")


async def test_equal_requests_at_the_same_time_are_checked_once(place: Place) -> None:
    requests = [("alice", ALICE)] * 5 + [("carol", "wrong")] * 5 + [("alice", "wrong")] * 5
    answers = await asyncio.gather(*(place.verify(user, password) for user, password in requests))
    assert answers == [True] * 5 + [False] * 10
    assert place.count == 3


async def test_a_cancelled_request_does_not_cancel_the_others(place: Place) -> None:
    first, second = (asyncio.ensure_future(place.verify("alice", ALICE)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second
    assert first.cancelled()
    assert place.count == 1


async def test_more_sign_ins_than_the_queue_has_places(tmp_path: Path) -> None:
    # Hashes of real passwords take so long that none has ended when the last request comes.
    place = Place(tmp_path / "users", bcrypt_line("alice", ALICE, 9), Counted(threads=1, waiting=2))
    guesses = [place.verify("alice" if number % 2 else "carol", f"guess {number}") for number in range(8)]
    answers = await asyncio.gather(*guesses, return_exceptions=True)
    assert answers[:3] == [False] * 3
    for refused in answers[3:]:
        assert isinstance(refused, OCIError)
        answer = marshal_error(refused)
        assert (answer.status, answer.headers) == (429, {"Retry-After": "1"})
    assert await place.verify("alice", ALICE)
    await place.hashing.close()


async def test_guessing_is_slowed_down_for_known_and_unknown_users(tmp_path: Path) -> None:
    place = Place(tmp_path / "users", bcrypt_line("alice", ALICE), rate=Rate(3, 6.0))
    for user in ("alice", "carol"):
        for number in range(3):
            assert not await place.verify(user, f"guess {number}")
        count = place.count
        with pytest.raises(OCIError, match="try again in 6 s"):
            await place.verify(user, ALICE)
        assert place.count == count, "nothing is hashed"
    assert await place.verify("alice", ALICE, "192.0.2.2")
    place.clock.now += 6.0
    assert await place.verify("alice", ALICE)
    # A success gives the user all attempts again.
    for number in range(3):
        assert not await place.verify("alice", f"guess {number}")
    await place.hashing.close()


async def test_what_is_remembered_does_not_answer_guesses_without_limit(tmp_path: Path) -> None:
    place = Place(tmp_path / "users", bcrypt_line("alice", ALICE), rate=Rate(3, 6.0))
    assert await place.verify("alice", ALICE)
    for number in range(3):
        assert not await place.verify("alice", f"guess {number}")
    with pytest.raises(OCIError, match="try again"):
        await place.verify("alice", ALICE)
    await place.hashing.close()


async def test_whoever_goes_away_before_the_answer_has_used_an_attempt(tmp_path: Path) -> None:
    place = Place(tmp_path / "users", bcrypt_line("alice", ALICE), rate=Rate(1, 6.0))
    guess = asyncio.ensure_future(place.verify("alice", "wrong"))
    await asyncio.sleep(0)
    guess.cancel()
    await asyncio.wait([guess])
    with pytest.raises(OCIError, match="try again"):
        await place.verify("alice", ALICE)
    await place.hashing.close()


async def test_no_password_is_logged_or_kept(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = [ALICE, "wr0ng-guess", "n3w-secret"]
    assert await place.verify("alice", ALICE)
    assert not await place.verify("alice", "wr0ng-guess")
    assert not await place.verify("carol", "wr0ng-guess")
    place.rewrite("alice:n3w-secret\n")
    assert await place.verify("alice", ALICE)
    place.rewrite(bcrypt_line("alice", "n3w-secret"))
    assert await place.verify("alice", "n3w-secret")
    assert len(caplog.records) >= 2
    # What the parts hold, at any depth, and how they show themselves.
    seen, waiting = set[int](), list[object]([place.signin, place.hashing, place.file])
    shown = [caplog.text, *(str(vars(record)) for record in caplog.records)]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type) or type(one).__name__ in ("module", "function"):
            continue
        seen.add(id(one))
        shown.append(repr(one) if isinstance(one, (str, bytes)) else "")
        waiting += gc.get_referents(one) if len(seen) < 20_000 else []
    for secret in secrets:
        assert not [text for text in shown if secret in text]
    for text in (repr(place.signin), repr(place.file), repr(place.file.snapshot)):
        assert "$2b$" not in text
