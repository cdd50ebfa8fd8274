"""What the guard calls slower, on times made by hand."""

from __future__ import annotations

import pytest

from benches.comparison import Row, compare, table
from benches.guard import status

BASE = [100e-9, 102e-9, 98e-9]
TIMES = {
    "equal": (BASE, False),
    "within the spread": ([103e-9, 101e-9, 104e-9], False),
    "faster": ([50e-9, 51e-9, 49e-9], False),
    "slower": ([110e-9, 112e-9, 108e-9], True),
    # Its median is 1.3 times as much, but one and the same commit took 0.9 and 1.5 times as long.
    "slower, but as unsteady": ([130e-9, 90e-9, 150e-9], False),
}


def row(now: list[float]) -> Row:
    return Row("parse", BASE, now)


@pytest.mark.parametrize("name", TIMES)
def test_slower_is_what_is_slower_by_more_than_the_spread(name: str) -> None:
    now, is_slower = TIMES[name]
    assert row(now).is_slower is is_slower
    assert ("slower |" in table([row(now)])) is is_slower


def test_ratio_and_spread() -> None:
    slower = row([110e-9, 112e-9, 108e-9])
    assert slower.ratio == pytest.approx(1.10)
    assert slower.spread == pytest.approx(0.04)
    assert table([slower]).splitlines()[-1] == "| parse | 100 ns | 110 ns | 1.10 | 4% | slower |"


@pytest.mark.parametrize("seconds, shown", [(2e-9, "2 ns"), (0.0025, "2.5 ms"), (1.5, "1.5 s"), (4e-5, "40 us")])
def test_times_have_the_unit_that_fits(seconds: float, shown: str) -> None:
    assert f"| {shown} | {shown} |" in table([Row("a", [seconds] * 3, [seconds] * 3)])


def test_slower_ones_come_first_and_only_what_both_have() -> None:
    base = [{"steady": 1.0, "worse": 1.0, "gone": 1.0}] * 3
    now = [{"steady": 1.0, "worse": 2.0, "new": 1.0}] * 3
    assert [row.name for row in compare(base, now)] == ["worse", "steady"]


def test_two_rounds_are_too_few() -> None:
    with pytest.raises(ValueError, match="at least 3 rounds"):
        compare([{"a": 1.0}] * 3, [{"a": 1.0}] * 2)


def test_every_round_has_the_same() -> None:
    with pytest.raises(ValueError, match="different benchmarks"):
        compare([{"a": 1.0}] * 3, [{"a": 1.0}, {"a": 1.0}, {"b": 1.0}])


def test_only_who_asks_for_it_is_failed() -> None:
    slower, equal = row([200e-9] * 3), row(BASE)
    assert status([slower, equal], fail=False) == 0
    assert status([slower, equal], fail=True) == 1
    assert status([equal], fail=True) == 0
