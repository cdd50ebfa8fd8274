"""Groups of transactions: each is as large as the last one, and waits only for a bounded time."""

from __future__ import annotations

import threading

import pytest

from ociserver.store.group_commit import MAX_GROUP, GroupQueue

FOR_EVER = 600.0
"""Longer than a test may take."""


def put(waiting: GroupQueue[int], *items: int) -> None:
    for item in items:
        waiting.put(item)


def test_one_alone_does_not_wait() -> None:
    waiting: GroupQueue[int] = GroupQueue(FOR_EVER)
    for number in range(3):
        waiting.put(number)
        assert waiting.next_group() == ([number], False)


def test_what_is_there_is_taken_together() -> None:
    waiting: GroupQueue[int] = GroupQueue(FOR_EVER)
    put(waiting, 1, 2, 3)
    assert waiting.next_group() == ([1, 2, 3], False)


def test_as_many_as_the_last_time_are_waited_for() -> None:
    waiting: GroupQueue[int] = GroupQueue(FOR_EVER)
    put(waiting, 1, 2, 3)
    waiting.next_group()
    waiting.put(4)
    others = threading.Timer(0.05, put, [waiting, 5, 6])
    others.start()
    assert waiting.next_group() == ([4, 5, 6], False)
    others.join()


def test_who_does_not_come_is_expected_no_more() -> None:
    waiting: GroupQueue[int] = GroupQueue()
    put(waiting, 1, 2, 3)
    waiting.next_group()
    waiting.gather_s = 0.001
    for number in range(2):
        waiting.put(number)
        assert waiting.next_group() == ([number], False)
    waiting.gather_s = FOR_EVER
    waiting.put(3)
    assert waiting.next_group() == ([3], False)


def test_more_than_are_expected_are_taken_too() -> None:
    waiting: GroupQueue[int] = GroupQueue(FOR_EVER)
    put(waiting, 1, 2)
    waiting.next_group()
    put(waiting, 3, 4, 5)
    assert waiting.next_group() == ([3, 4, 5], False)


def test_a_group_is_bounded() -> None:
    waiting: GroupQueue[int] = GroupQueue()
    put(waiting, *range(MAX_GROUP + 1))
    assert waiting.next_group() == (list(range(MAX_GROUP)), False)
    assert waiting.next_group() == ([MAX_GROUP], False)


@pytest.mark.parametrize("items", [(), (1,), (1, 2)])
def test_the_end_is_not_waited_for(items: tuple[int, ...]) -> None:
    waiting: GroupQueue[int] = GroupQueue(FOR_EVER)
    put(waiting, 1, 2, 3)
    waiting.next_group()
    put(waiting, *items)
    waiting.end()
    assert waiting.next_group() == (list(items), True)


@pytest.mark.parametrize("ended", [False, True])
def test_all_that_waits_can_be_taken(*, ended: bool) -> None:
    """The end stays in the queue for the thread that takes groups."""
    waiting: GroupQueue[int] = GroupQueue()
    put(waiting, 1, 2)
    if ended:
        waiting.end()
    assert waiting.drain() == [1, 2]
    assert waiting.drain() == []
    if not ended:
        put(waiting, 3)
    assert waiting.next_group() == ([] if ended else [3], ended)
