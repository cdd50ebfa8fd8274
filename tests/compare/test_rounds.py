"""Rounds: everybody gets the same number, begins one of them, and is not forgotten when something goes wrong."""

from __future__ import annotations

from collections import Counter

from benches.compare.contenders import Failed, Measurable
from benches.compare.rounds import measure
from benches.compare.works import Work
from ociserver.bench import BenchError, Result

WORK = Work("image-push", "push", "image-push", clean=True)


class Recorded:
    """A contender that writes down when it was measured, and fails from some round on."""

    pid = None

    def __init__(self, name: str, order: list[str], *, fails_after: int = 99, unprepared: bool = False) -> None:
        self.name = name
        self.failed: str | None = None
        self.order = order
        self.cleaned = 0
        self._left = fails_after
        self._unprepared = unprepared

    def prepare(self, work: Work, seconds: float) -> Measurable:
        if self._unprepared:
            raise BenchError("it went away")
        return self

    def set_up(self) -> None: ...
    def make_ready(self) -> None: ...

    def measure(self) -> Result:
        self.order.append(self.name)
        self._left -= 1
        return Result(
            "push", "images/s", 8, rate=7.0, count=7, seconds=1, failed="it fell over" if self._left < 0 else None
        )

    def clean(self) -> Counter[str]:
        self.cleaned += 1
        return Counter()


def test_each_round_begins_with_another_one() -> None:
    order: list[str] = []
    contenders = [Recorded(name, order) for name in "abc"]
    figures = measure(WORK, contenders, 3, 1.0, lambda text: None)
    assert "".join(order) == "abc" + "bca" + "cab"
    assert [len(figure.samples) for figure in figures] == [3, 3, 3]
    assert all(one.cleaned >= 3 for one in contenders)


def test_one_that_fails_in_a_later_round_keeps_its_figures_and_says_why() -> None:
    order: list[str] = []
    good, bad = measure(
        WORK, [Recorded("good", order), Recorded("bad", order, fails_after=1)], 3, 1.0, lambda text: None
    )
    assert (len(good.samples), good.failed) == (3, None)
    assert (len(bad.samples), bad.failed) == (1, "it fell over")
    assert order.count("bad") == 2


def test_one_that_cannot_be_prepared_is_there_with_its_reason() -> None:
    (figure,) = measure(WORK, [Recorded("gone", [], unprepared=True)], 3, 1.0, lambda text: None)
    assert figure.samples == []
    assert figure.failed == "BenchError: it went away"


def test_a_reason_is_a_line_without_the_page_that_came_with_it() -> None:
    class Refusing(Recorded):
        def prepare(self, work: Work, seconds: float) -> Measurable:
            return Failed("push", "GET /v2/x: 404: <!DOCTYPE html PUBLIC\n<html>...")

    (figure,) = measure(WORK, [Refusing("refusing", [])], 1, 1.0, lambda text: None)
    assert figure.failed == "GET /v2/x: 404:"
