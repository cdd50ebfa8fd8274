"""The threads that check passwords: how many checks run and wait, and what is refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from ociserver.auth.hashing import Hashing
from ociserver.errors import OCIError, marshal_error

pytestmark = pytest.mark.anyio


class Held:
    """A check that ends when it is told to."""

    def __init__(self) -> None:
        self.started, self._may_end = threading.Event(), threading.Event()

    def __call__(self) -> bool:
        self.started.set()
        assert self._may_end.wait(60)
        return True

    async def until_started(self) -> None:
        assert await asyncio.to_thread(self.started.wait, 60)

    def end(self) -> None:
        self._may_end.set()


@pytest.fixture
def checks() -> Iterator[list[Held]]:
    """Checks, which end with the test at the latest."""
    checks = [Held(), Held()]
    yield checks
    for check in checks:
        check.end()


@pytest.fixture
async def hashing() -> AsyncIterator[Hashing]:
    """One thread, and one place to wait."""
    hashing = Hashing(threads=1, waiting=1)
    yield hashing
    await hashing.close()


async def assert_full(hashing: Hashing) -> None:
    with pytest.raises(OCIError) as refused:
        await hashing.run(lambda: True)
    answer = marshal_error(refused.value)
    assert (answer.status, answer.code, answer.headers) == (429, "TOOMANYREQUESTS", {"Retry-After": "1"})


async def test_the_result_and_the_error_of_a_check(hashing: Hashing) -> None:
    assert await hashing.run(lambda: True) is True
    assert await hashing.run(lambda: False) is False
    with pytest.raises(ZeroDivisionError):
        await hashing.run(lambda: 1 // 0 > 0)
    assert await hashing.run(lambda: True) is True


async def test_a_check_runs_in_another_thread(hashing: Hashing) -> None:
    here = threading.get_ident()
    assert await hashing.run(lambda: threading.get_ident() != here)


async def test_what_does_not_fit_is_refused_at_once(hashing: Hashing, checks: list[Held]) -> None:
    running = [asyncio.ensure_future(hashing.run(check)) for check in checks]
    await checks[0].until_started()
    await assert_full(hashing)
    assert not checks[1].started.is_set(), "there is one thread"
    for check in checks:
        check.end()
    assert await asyncio.gather(*running) == [True, True]
    assert await hashing.run(lambda: True)


async def test_a_cancelled_caller_leaves_its_place_taken_until_the_thread_has_ended(
    hashing: Hashing, checks: list[Held]
) -> None:
    running = [asyncio.ensure_future(hashing.run(check)) for check in checks]
    await checks[0].until_started()
    for caller in running:
        caller.cancel()
    await asyncio.wait(running)
    assert all(caller.cancelled() for caller in running)
    await assert_full(hashing)
    checks[0].end()
    await checks[1].until_started()  # so the first has ended
    last = asyncio.ensure_future(hashing.run(lambda: True))
    await asyncio.sleep(0)
    await assert_full(hashing)
    checks[1].end()
    assert await last


async def test_closing_refuses_what_waits_and_waits_for_what_runs(checks: list[Held]) -> None:
    hashing = Hashing(threads=1, waiting=2)
    check = checks[0]
    running = asyncio.ensure_future(hashing.run(check))
    await check.until_started()
    waiting = asyncio.ensure_future(hashing.run(lambda: True))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(hashing.close())
    with pytest.raises(OCIError, match="stopping"):
        await waiting
    assert not closing.done()
    check.end()
    await closing
    assert await running
    # A handler that was closed can be opened again.
    assert await hashing.run(lambda: True)
    await hashing.close()
