"""Bounds on waits: broken off as by `asyncio.timeout`, and hardly any timer while none is reached."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from ociserver.handler.deadlines import Deadlines

pytestmark = pytest.mark.anyio


async def wait(deadlines: Deadlines, seconds: float) -> None:
    with deadlines.within(seconds):
        await asyncio.Event().wait()


async def test_a_wait_that_is_too_long_is_broken_off() -> None:
    began = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        await wait(Deadlines(), 0.05)
    assert 0.04 < asyncio.get_running_loop().time() - began < 1
    task = asyncio.current_task()
    assert task
    assert task.cancelling() == 0


async def test_each_at_its_own_time() -> None:
    """Also if there is a timer when a shorter deadline is added."""
    deadlines, ended = Deadlines(), list[float]()

    async def note(seconds: float) -> None:
        with pytest.raises(TimeoutError):
            await wait(deadlines, seconds)
        ended.append(seconds)

    times = [0.2, 0.05, 0.1, 0.05, 0.15]
    async with asyncio.timeout(5):
        await asyncio.gather(*(note(seconds) for seconds in times))
    assert ended == sorted(times)


async def test_one_that_ends_in_time_is_left_alone() -> None:
    deadlines = Deadlines()
    for _ in range(8):
        with deadlines.within(0.05):
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.06)


async def test_waits_share_a_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines, loop, timers = Deadlines(), asyncio.get_running_loop(), 0
    call_at = loop.call_at

    def count(*arguments: Any, **named: Any) -> asyncio.TimerHandle:
        nonlocal timers
        timers += 1
        return call_at(*arguments, **named)

    monkeypatch.setattr(loop, "call_at", count)
    for _ in range(100):
        with deadlines.within(60):
            await asyncio.sleep(0)
    assert timers == 1


async def test_no_timer_is_left_when_nothing_waits() -> None:
    deadlines = Deadlines()
    with deadlines.within(0.02):
        pass
    await asyncio.sleep(0.04)
    with pytest.raises(TimeoutError):
        await wait(deadlines, 0.02)


async def test_who_is_cancelled_is_not_late() -> None:
    deadlines = Deadlines()
    task = asyncio.ensure_future(wait(deadlines, 60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_is_cancelled_and_late_is_cancelled() -> None:
    deadlines = Deadlines()
    task = asyncio.ensure_future(wait(deadlines, 0.05))
    await asyncio.sleep(0)
    # In one turn of the loop, before the task runs again.
    loop = asyncio.get_running_loop()
    loop.call_soon(time.sleep, 0.06)
    loop.call_soon(lambda: loop.call_soon(task.cancel))
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_is_late_is_told_once() -> None:
    """Its later work is not interrupted when other deadlines expire."""
    deadlines, events = Deadlines(), list[str]()

    async def tidy() -> None:
        with deadlines.within(0.02):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.sleep(0.1)
                events.append("tidied")
                raise

    ended = await asyncio.gather(tidy(), wait(deadlines, 0.05), return_exceptions=True)
    assert [type(error) for error in ended] == [TimeoutError, TimeoutError]
    assert events == ["tidied"]


async def test_what_is_raised_is_raised() -> None:
    with pytest.raises(KeyError), Deadlines().within(60):
        raise KeyError


def test_in_another_loop() -> None:
    """The timers of one that has ended fire no more."""
    deadlines = Deadlines()

    async def ended() -> None:
        task = asyncio.ensure_future(wait(deadlines, 60))
        await asyncio.sleep(0)
        assert not task.done()

    async def late() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait(deadlines, 0.05), 5)

    asyncio.run(ended())
    asyncio.run(late())
