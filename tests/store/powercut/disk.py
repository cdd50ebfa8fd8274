"""What a disk may hold after a power cut, from the log of what was done to a folder."""

from __future__ import annotations

import random
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

__all__ = ["Disk", "Event", "events"]

_HEADER = struct.Struct("<BBHiiIQ")

SECTOR = 512
"""What a disk writes whole or not at all."""

Change = TypeVar("Change")
Descriptor: TypeAlias = tuple[int, int]
"""A process and its number for an open file."""


@dataclass(frozen=True, slots=True)
class Event:
    """One record of the log; `end` is where it ends in the file, and names the moment after it."""

    op: str
    created: bool
    descriptor: Descriptor
    data: bytes
    offset: int
    end: int

    @property
    def path(self) -> str:
        return self.data.decode()


def events(log: Path) -> Iterator[Event]:
    """The records of a log, in order."""
    content = log.read_bytes()
    at = 0
    while at < len(content):
        op, created, _, pid, fd, length, offset = _HEADER.unpack_from(content, at)
        end = at + _HEADER.size + length
        yield Event(chr(op), bool(created), (pid, fd), content[at + _HEADER.size : end], offset, end)
        at = end


class _Synced(ABC, Generic[Change]):
    """Something whose changes become certain by syncs; one covers what was changed before it began."""

    def __init__(self) -> None:
        self.pending: list[Change] = []
        self._covered: dict[Descriptor, int] = {}

    def begin_sync(self, by: Descriptor) -> None:
        self._covered[by] = len(self.pending)

    def end_sync(self, by: Descriptor) -> None:
        count = self._covered.pop(by)
        self._settle(self.pending[:count])
        del self.pending[:count]
        self._covered = {other: max(covered - count, 0) for other, covered in self._covered.items()}

    @abstractmethod
    def _settle(self, changes: list[Change]) -> None: ...


class File(_Synced[tuple[int, bytes | None]]):
    """A file. A change without data cuts it, or makes it longer."""

    def __init__(self) -> None:
        super().__init__()
        self._certain = bytearray()

    def now(self) -> bytearray:
        """What a read returns while there is power."""
        return _changed(self._certain.copy(), self.pending)

    def after_power_cut(self, chance: random.Random | None) -> bytearray:
        """Its bytes, with none of what is pending, or with whatever sectors of it chance has written."""
        if chance is None or not self.pending:
            return self._certain
        if chance.random() < 0.2:
            return self.now()
        torn = _changed(self._certain.copy(), _torn(self.pending, chance))
        # A file system may have the new size without the bytes.
        return torn.ljust(len(self.now()), b"\0") if chance.random() < 0.3 else torn

    def _settle(self, changes: list[tuple[int, bytes | None]]) -> None:
        _changed(self._certain, changes)


class Folder(_Synced[tuple[str, "Entry | None"]]):
    """A folder. A change is a name and what it is of; None takes it away."""

    def __init__(self) -> None:
        super().__init__()
        self.now: dict[str, Entry] = {}
        self._certain: dict[str, Entry] = {}

    def change(self, name: str, entry: Entry | None) -> None:
        change = name, entry
        _renamed(self.now, [change])
        self.pending.append(change)

    def after_power_cut(self, chance: random.Random | None, *, names: bool) -> dict[str, Entry]:
        if names:
            return self.now
        if chance is None:
            return self._certain
        keep = chance.random()
        return _renamed(self._certain.copy(), [change for change in self.pending if chance.random() < keep])

    def _settle(self, changes: list[tuple[str, Entry | None]]) -> None:
        _renamed(self._certain, changes)


Entry: TypeAlias = File | Folder


class Disk:
    """Follows a log.

    Args:
        root: the recorded folder.
        deaf_to: paths whose syncs are not heard; to show that the tests would notice if one was missing.
    """

    def __init__(self, root: Path, deaf_to: Callable[[str], bool] = lambda path: False) -> None:
        self._root = root
        self._deaf_to = deaf_to
        self._tree = Folder()
        self._open: dict[Descriptor, tuple[Entry, str]] = {}

    def follow(self, event: Event) -> None:
        """Take note of one more event."""
        match event.op:
            case "W" | "T":
                file, _ = self._open[event.descriptor]
                assert isinstance(file, File)
                file.pending.append((event.offset, event.data if event.op == "W" else None))
            case "b" | "e":
                entry, path = self._open[event.descriptor]
                if not self._deaf_to(path):
                    (entry.begin_sync if event.op == "b" else entry.end_sync)(event.descriptor)
            case "O":
                self._opened(event)
            case "C":
                del self._open[event.descriptor]
            case "M":
                folder, name = self._place(event.path)
                folder.change(name, Folder())
            case "U":
                folder, name = self._place(event.path)
                folder.change(name, None)
            case "A":
                pass
            case _:
                raise AssertionError(event)

    def write_out(self, target: Path, chance: random.Random | None = None, *, names: bool = False) -> None:
        """Make the folder as it may be after a power cut now.

        Args:
            target: where; must not be there yet.
            chance: what chooses a part of what is not certain; None for nothing of it.
            names: every name is as it was, what is not certain too.
        """
        _write_out(self._tree, target, chance, names=names)

    def files(self) -> dict[str, bytes]:
        """Every file as it is while there is power, by its path below the root."""
        return dict(_files(self._tree, ""))

    def _opened(self, event: Event) -> None:
        if event.path == str(self._root):
            self._open[event.descriptor] = self._tree, event.path
            return
        folder, name = self._place(event.path)
        if event.created:
            folder.change(name, File())
        self._open[event.descriptor] = folder.now[name], event.path

    def _place(self, path: str) -> tuple[Folder, str]:
        """The folder that a path is in, and its name there."""
        *above, name = Path(path).relative_to(self._root).parts
        folder = self._tree
        for part in above:
            below = folder.now[part]
            assert isinstance(below, Folder)
            folder = below
        return folder, name


def _write_out(folder: Folder, target: Path, chance: random.Random | None, *, names: bool) -> None:
    target.mkdir()
    for name, entry in folder.after_power_cut(chance, names=names).items():
        if isinstance(entry, Folder):
            _write_out(entry, target / name, chance, names=names)
        else:
            (target / name).write_bytes(entry.after_power_cut(chance))


def _files(folder: Folder, path: str) -> Iterator[tuple[str, bytes]]:
    for name, entry in folder.now.items():
        if isinstance(entry, Folder):
            yield from _files(entry, f"{path}{name}/")
        else:
            yield f"{path}{name}", bytes(entry.now())


def _renamed(names: dict[str, Entry], changes: Iterable[tuple[str, Entry | None]]) -> dict[str, Entry]:
    for name, entry in changes:
        if entry is None:
            names.pop(name, None)
        else:
            names[name] = entry
    return names


def _changed(content: bytearray, changes: Iterable[tuple[int, bytes | None]]) -> bytearray:
    for offset, data in changes:
        if data is None:
            del content[offset:]
        content.extend(bytes(max(offset - len(content), 0)))
        if data is not None:
            content[offset : offset + len(data)] = data
    return content


def _torn(changes: list[tuple[int, bytes | None]], chance: random.Random) -> Iterator[tuple[int, bytes | None]]:
    """Some of the changes, and of those some sectors."""
    keep = chance.random()
    for offset, data in changes:
        if data is None:
            if chance.random() < keep:
                yield offset, None
            continue
        start = 0
        while start < len(data):
            stop = min(start + SECTOR - (offset + start) % SECTOR, len(data))
            if chance.random() < keep:
                yield offset + start, data[start:stop]
            start = stop
