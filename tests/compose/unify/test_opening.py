"""All registries are opened and closed, whatever happens to one of them."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import pytest

from ociserver import Memory
from ociserver.compose import Unify

pytestmark = pytest.mark.anyio


class Noting(Memory):
    """Records that it is opened and closed. Can refuse to open."""

    def __init__(self, name: str, notes: list[str], *, opens: bool = True) -> None:
        super().__init__()
        self._name, self._notes, self._opens = name, notes, opens

    async def __aenter__(self) -> Self:
        if not self._opens:
            raise OSError("no such folder")
        self._notes.append(f"open {self._name}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._notes.append(f"close {self._name}")


async def test_all_are_opened_and_closed() -> None:
    notes: list[str] = []
    backend = Unify(Noting("one", notes), Noting("two", notes))
    for _ in range(2):
        async with backend:
            assert notes == ["open one", "open two"]
        assert notes == ["open one", "open two", "close two", "close one"]
        notes.clear()


async def test_a_registry_that_does_not_open() -> None:
    notes: list[str] = []
    with pytest.raises(OSError, match="no such folder"):
        await Unify(Noting("one", notes), Noting("two", notes, opens=False)).__aenter__()
    assert notes == ["open one", "close one"]


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two(count: int) -> None:
    with pytest.raises(ValueError, match="give two or more"):
        Unify(*[Memory() for _ in range(count)])
