"""What was acknowledged, and at which moment of the log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tests.store.crash.registry import Ledger
from tests.store.powercut.disk import Event

Answer: TypeAlias = tuple[int, int]
"""The address that a connection came from, which is its own, and the how-manieth answer on it."""


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that a client has had done.

    Args:
        path: what it is about.
        digest: what is there when it is done; None for nothing.
        begun: the last moment at which it cannot have been done.
        answered: the answer that acknowledged it, or a moment at which it had been.
    """

    path: str
    digest: str | None
    begun: int
    answered: Answer | int


class History(Ledger):
    """A ledger that remembers when.

    Args:
        log: how long it is tells the time.
    """

    def __init__(self, log: Path) -> None:
        super().__init__()
        self.deeds: list[Deed] = []
        self.last_answer: Answer | None = None
        self._log = log
        self._begun: dict[str, int] = {}

    def begin(self, *paths: str) -> None:
        super().begin(*paths)
        self._begun.update(dict.fromkeys(paths, self._now()))
        # What comes without one was done by a command, which has ended by then.
        self.last_answer = None

    def pushed(self, digest: str, *paths: str) -> None:
        super().pushed(digest, *paths)
        self._done(digest, paths)

    def deleted(self, *paths: str) -> None:
        super().deleted(*paths)
        self._done(None, paths)

    def _done(self, digest: str | None, paths: Iterable[str]) -> None:
        answered = self.last_answer or self._now()
        self.deeds += [Deed(path, digest, self._begun.pop(path), answered) for path in paths]

    def _now(self) -> int:
        return self._log.stat().st_size


class Timeline:
    """What may be there at a moment: of all clients, each of which has paths of its own."""

    def __init__(self, histories: Iterable[History], log: Iterable[Event]) -> None:
        sent: defaultdict[int, list[int]] = defaultdict(list)
        for event in log:
            if event.op == "A":
                sent[event.offset].append(event.end)
        self._deeds: defaultdict[str, list[tuple[int, int, str | None]]] = defaultdict(list)
        for deed in (deed for history in histories for deed in history.deeds):
            answered = deed.answered
            end = answered if isinstance(answered, int) else sent[answered[0]][answered[1] - 1]
            assert deed.begun < end
            self._deeds[deed.path].append((deed.begun, end, deed.digest))

    @property
    def paths(self) -> list[str]:
        return list(self._deeds)

    @property
    def acknowledged(self) -> list[int]:
        """The moments at which something was."""
        return sorted({end for deeds in self._deeds.values() for _, end, _ in deeds})

    def allowed(self, path: str, moment: int) -> set[str | None]:
        """What was acknowledged last, and what is under way; None is for nothing."""
        allowed: set[str | None] = {None}
        for begun, end, digest in self._deeds[path]:
            if end <= moment:
                allowed = {digest}
            elif begun < moment:
                allowed.add(digest)
        return allowed

    def disagreements(self, seen: dict[str, str | None], moment: int) -> list[str]:
        """Where what is seen is not what may be there at that moment."""
        return [
            f"{path}: {digest}, and not {allowed}"
            for path, digest in seen.items()
            if digest not in (allowed := self.allowed(path, moment))
        ]

    def agrees_between(self, seen: dict[str, str | None], first: int, last: int) -> bool:
        """Whether there is a moment, from the first to the last, at which all that is seen may be there together."""
        turns = {first, last}
        for deeds in self._deeds.values():
            turns |= {turn for begun, end, _ in deeds for turn in (begun + 1, end, end - 1) if first <= turn <= last}
        return any(not self.disagreements(seen, turn) for turn in turns)
