"""A consistent copy of a store, in another folder, while processes use the store.

The copy is a store itself. The order of the steps keeps it complete at each moment:

1. A copy of the database is made beside the one that the backup has. It is one moment of the store.
2. Each file that it names is copied, if the backup does not have it. A file is written once, so one with the same name
   and size is the same. Collection may delete a file before it is copied. Then there is a newer moment: step 1 again.
3. Everything is synced. Then the new database replaces the old one, by a rename.
4. Files that the new database does not name are deleted.

A first backup has no database before step 3, so nobody can take an interrupted one for complete. An interrupted later
one is the earlier backup, with files that nothing names.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from ociserver.store import collecting
from ociserver.store.backend import Store
from ociserver.store.backup_folder import LOCK, UNCHANGED, check_destination, copy_bytes, failure_of, write_marker
from ociserver.store.directory import FAN_OUT
from ociserver.store.disk import sync_folder, sync_folders_above
from ociserver.store.errors import StoreError
from ociserver.store.failpoint import reach
from ociserver.store.folder import BACKUP_MARKER, BLOBS, COLLECTION_LOCK, DATABASE
from ociserver.store.modes import Modes
from ociserver.store.process_lock import ProcessLock

__all__ = ["BackupReport", "backup"]

ROUNDS: Final = 5
"""The most moments of the store that one backup tries. Each later one has only what is new since the one before."""

UNDISTURBED: Final = 3
"""Moments after which collections have to wait. Only with a grace of seconds, they delete something each time."""

COLLECTION_WAIT_S: Final = 600.0
"""The longest wait for a collection that is running, in seconds. Most take less than a minute."""

_NEW_DATABASE: Final = ".registry.db.new"
_PARTIAL: Final = ".partial"

_COMPARE: Final = """
SELECT EXISTS (SELECT 1 FROM earlier.copies),
    EXISTS (SELECT 1 FROM earlier.copies AS old JOIN main.copies AS new ON new.id = old.id AND new.digest = old.digest)
"""
"""With the id, because other stores may have the same base images."""

Result = TypeVar("Result")

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class BackupReport:
    """What a backup has done. Sizes are in bytes.

    Args:
        files_copied: files that were new.
        bytes_copied: their size.
        files_kept: files that an earlier backup had copied.
        files_removed: files that nothing names any more.
        database_bytes: size of the database, which is always copied as a whole.
        missing: digests of contents that the store itself does not have, or has with another size.
    """

    files_copied: int = 0
    bytes_copied: int = 0
    files_kept: int = 0
    files_removed: int = 0
    database_bytes: int = 0
    missing: list[str] = field(default_factory=list)


async def backup(store: Store, destination: Path, *, on_progress: Progress | None = None) -> BackupReport:
    """Copy a store to a folder, or bring an earlier copy up to date.

    Args:
        store: an open store.
        destination: a folder that is empty, does not exist, or has an earlier backup.
        on_progress: called with (checked files, all files), in another thread.

    Raises:
        StoreError: the folder is something else, such as a backup of another store, or the disk is full. An earlier
            backup in it is unchanged. Or the database of the store is not in its folder.
    """
    if not store.has_own_database:
        raise StoreError(
            f"{store.path} has its metadata in another database, which this backup does not include. While no "
            "collection runs, first save that database with its own tool (PostgreSQL: pg_dump), and then copy "
            f"{store.path / BLOBS}: every content that the saved database names must be in the copy"
        )
    work = _Backup(store.path, destination, store.modes, on_progress)
    with work.alone():
        try:
            await work.run(work.prepare)
            for number in range(ROUNDS):
                if number == UNDISTURBED:
                    await work.run(work.hold_collections)
                await work.run(work.copy_database)
                await work.run(work.compare)
                absent = await work.run(work.copy_files)
                # What the live database does not name either was deleted after the copy of the database was made.
                live = await store.database.read(collecting.known_keys(list(absent))) if absent else set[str]()
                if live >= absent.keys():
                    work.report.missing = sorted(absent.values())
                    await work.run(work.finish)
                    return work.report
        except (OSError, sqlite3.Error) as error:
            raise failure_of(destination, error) from error
        finally:
            work.release_collections()
            await work.run(work.clean)
    raise StoreError(
        f"{destination}: files of the store disappeared during each of {ROUNDS} tries. {UNCHANGED}. The same command "
        "continues it"
    )


class _Backup:
    """One run. All methods block."""

    def __init__(self, source: Path, destination: Path, modes: Modes, on_progress: Progress | None) -> None:
        self._source = source
        self._destination = destination
        self._modes = modes
        self._on_progress = on_progress
        self._is_stopped = False
        self._collections: ProcessLock | None = None
        self.report = BackupReport()

    async def run(self, step: Callable[[], Result]) -> Result:
        """Run a step in a thread. A cancellation waits until the step has stopped, soon and at a safe point."""
        running = asyncio.ensure_future(asyncio.to_thread(step))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self._is_stopped = True
            self.release_collections()
            await asyncio.wait([running])
            running.exception()
            raise

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Check the folder, and keep other backups out of it."""
        check_destination(self._source, self._destination)
        try:
            self._modes.make_folder(self._destination)
            fd = os.open(self._destination / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, self._modes.file)
        except OSError as error:
            raise failure_of(self._destination, error) from error
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreError(f"{self._destination}: another backup to this folder is running") from None
            yield
        finally:
            os.close(fd)

    def prepare(self) -> None:
        """Make the folders, and mark a new backup as one that is not complete."""
        self.clean()
        if not (self._destination / BACKUP_MARKER).exists():
            write_marker(self._destination, self._modes, None)
        # By itself first: a folder that is made for one in it would get default permissions.
        self._modes.make_folder(self._destination / BLOBS)
        for number in range(FAN_OUT):
            self._modes.make_folder(self._destination / BLOBS / f"{number:02x}")
        self._settle()

    def clean(self) -> None:
        """Delete what an interrupted backup may have left unfinished."""
        for name in (_PARTIAL, _NEW_DATABASE, f"{_NEW_DATABASE}-journal"):
            with contextlib.suppress(OSError):
                (self._destination / name).unlink(missing_ok=True)

    def _settle(self) -> None:
        """Write the log of the old database into it: the log must not be beside another database."""
        database = self._destination / DATABASE
        if not os.path.lexists(f"{database}-wal"):
            return
        with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")

    def hold_collections(self) -> None:
        """Keep collections from beginning."""
        self._collections = ProcessLock(self._source / COLLECTION_LOCK, self._modes.file)
        if not self._collections.acquire_within(COLLECTION_WAIT_S):
            raise StoreError(f"{self._source}: a collection has not ended. Run the backup when it has. {UNCHANGED}")

    def release_collections(self) -> None:
        """Let collections begin again."""
        if self._collections is not None:
            self._collections.close()

    def copy_database(self) -> None:
        """Copy the database as it is at one moment, without its unfinished uploads."""
        path = self._destination / _NEW_DATABASE
        path.unlink(missing_ok=True)
        self._modes.make_file(path)
        source = f"{(self._source / DATABASE).absolute().as_uri()}?mode=ro"
        with (
            contextlib.closing(sqlite3.connect(source, uri=True)) as live,
            contextlib.closing(sqlite3.connect(path, isolation_level=None)) as copy,
        ):
            live.backup(copy)
            # One file, without a log beside it. The store turns the log on again.
            copy.execute("PRAGMA journal_mode = DELETE")
            copy.execute("PRAGMA synchronous = FULL")
            # Their files are not copied: clients start these uploads again.
            copy.execute("DELETE FROM uploads")
        self.report.database_bytes = path.stat().st_size
        reach("backup database copied")

    def compare(self) -> None:
        """Refuse to replace a backup by that of a store that has nothing of it, such as a new and empty one.

        A nightly backup would otherwise delete everything after the store was lost, or after a mistake in `--data`.
        """
        database = self._destination / DATABASE
        if not database.exists():
            return
        with contextlib.closing(sqlite3.connect(self._destination / _NEW_DATABASE)) as copy:
            copy.execute("ATTACH ? AS earlier", (str(database),))
            ((has_contents, has_common),) = copy.execute(_COMPARE)
        if has_contents and not has_common:
            raise StoreError(
                f"{self._destination} is a backup of another store: {self._source} has nothing of what is in it. "
                "Nothing was changed. Back up to another folder"
            )

    def copy_files(self) -> dict[str, str]:
        """Copy the files that the copy of the database names. Returns the digests of absent ones, by key."""
        absent: dict[str, str] = {}
        self.report.files_kept = 0
        with contextlib.closing(sqlite3.connect(self._destination / _NEW_DATABASE)) as copy:
            ((total,),) = copy.execute("SELECT COUNT(*) FROM copies WHERE key IS NOT NULL")
            rows = copy.execute("SELECT key, digest, size, bad FROM copies WHERE key IS NOT NULL ORDER BY key")
            for number, (key, digest, size, bad) in enumerate(rows, 1):
                if self._is_stopped:
                    raise StoreError(f"{self._destination}: the backup was stopped")
                if not self._has(key, size) and not self._copy_file(key, size) and not bad:
                    absent[key] = digest
                if self._on_progress:
                    self._on_progress(number, total)
        return absent

    def _has(self, key: str, size: int) -> bool:
        try:
            kept = (self._destination / BLOBS / key[:2] / key).stat().st_size == size
        except FileNotFoundError:
            return False
        self.report.files_kept += kept
        return kept

    def _copy_file(self, key: str, size: int) -> bool:
        """Copy a file and sync it. False if the source is missing or has another size."""
        try:
            source = os.open(self._source / BLOBS / key[:2] / key, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            if os.fstat(source).st_size != size:
                return False
            partial, target = self._destination / _PARTIAL, self._destination / BLOBS / key[:2] / key
            partial.unlink(missing_ok=True)
            fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self._modes.file)
            try:
                copy_bytes(source, fd, size)
                os.fsync(fd)
            finally:
                os.close(fd)
            reach("backup file written")
            partial.rename(target)
        finally:
            os.close(source)
        self.report.files_copied += 1
        self.report.bytes_copied += size
        reach("backup file copied")
        return True

    def finish(self) -> None:
        """Make the new database the one of the backup, and then delete what it does not name."""
        # All folders: an interrupted backup may have left names in them that are not synced.
        for number in range(FAN_OUT):
            sync_folder(self._destination / BLOBS / f"{number:02x}")
        sync_folders_above(self._destination / BLOBS)
        new, database = self._destination / _NEW_DATABASE, self._destination / DATABASE
        fd = os.open(new, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        reach("backup before the database")
        new.rename(database)
        sync_folder(self._destination)
        reach("backup after the database")
        write_marker(self._destination, self._modes, self.report.files_copied + self.report.files_kept)
        self._delete_unnamed(database)

    def _delete_unnamed(self, database: Path) -> None:
        with contextlib.closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as kept:
            for number in range(FAN_OUT):
                with os.scandir(self._destination / BLOBS / f"{number:02x}") as entries:
                    names = [entry.name for entry in entries if entry.name.startswith(f"{number:02x}")]
                for name in names:
                    if not kept.execute("SELECT 1 FROM copies WHERE key = ?", (name,)).fetchone():
                        (self._destination / BLOBS / name[:2] / name).unlink(missing_ok=True)
                        self.report.files_removed += 1
                        reach("backup file removed")
