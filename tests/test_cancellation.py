"""Work that ends although its caller was cancelled, and work that is shared (`cancellation`, `single_flight`)."""

from __future__ import annotations

import asyncio

import pytest

from ociserver.cancellation import finish
from ociserver.context import retry_until
from ociserver.single_flight import SingleFlight

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_cancelled_caller_waits_for_the_work_and_undoes_it() -> None:
    may_end, undone = asyncio.Event(), list[str]()

    async def work() -> str:
        await may_end.wait()
        return "done"

    caller = asyncio.ensure_future(finish(work(), undone.append))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert undone == ["done"]


async def test_a_caller_that_is_cancelled_twice_leaves_the_work_and_its_undoing_behind() -> None:
    may_end, undone = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await may_end.wait()

    caller = asyncio.ensure_future(finish(work(), lambda _: undone.set()))
    for _ in range(2):
        await asyncio.sleep(0)
        caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert not undone.is_set()
    may_end.set()
    async with asyncio.timeout(10):
        await undone.wait()


async def test_nothing_is_undone_without_a_cancellation() -> None:
    undone = list[str]()

    async def work(*, fails: bool) -> str:
        if fails:
            raise ValueError("failed")
        return "done"

    assert await finish(work(fails=False), undone.append) == "done"
    with pytest.raises(ValueError, match="failed"):
        await finish(work(fails=True), undone.append)
    assert not undone


async def test_a_caller_that_is_cancelled_leaves_a_flight_to_the_others() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    may_end, begun = asyncio.Event(), 0

    async def work() -> int:
        nonlocal begun
        begun += 1
        await may_end.wait()
        return begun

    first, second = (asyncio.ensure_future(flights.do("key", work)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    may_end.set()
    assert await second == 1
    assert await flights.do("key", work) == 2, "what has ended begins again"


@pytest.mark.parametrize("own_context", [True, False])
async def test_a_flight_has_a_context_of_its_own_if_asked_for(*, own_context: bool) -> None:
    flights: SingleFlight[str, float | None] = SingleFlight(own_context=own_context)

    async def work() -> float | None:
        return retry_until.get()

    token = retry_until.set(1.0)
    try:
        assert await flights.do("key", work) == (None if own_context else 1.0)
    finally:
        retry_until.reset(token)


async def test_closing_cancels_what_is_under_way() -> None:
    flights: SingleFlight[str, None] = SingleFlight()
    waiting = asyncio.ensure_future(flights.do("key", lambda: asyncio.sleep(60)))
    await asyncio.sleep(0)
    await flights.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
