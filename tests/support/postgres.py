"""PostgreSQL for tests: a cluster of our own in a temporary folder, reached by a socket in it."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg

from ociserver.store.postgres import PostgreSQL
from tests.support import lifeline
from tests.support.tools import require_tool

Result = TypeVar("Result")

_URL: Final = "OCISERVER_TEST_POSTGRESQL"
"""Tells servers that a test starts where the cluster of the test run is."""

_TABLES: Final = (
    "holds",
    "objects",
    "refs",
    "tags",
    "manifests",
    "links",
    "uploads",
    "copies",
    "repositories",
    "ociserver_leases",
    "cache_repositories",
    "cache_contents",
    "cache_tags",
)

EMPTY: Final = "; ".join([*(f"DELETE FROM {table}" for table in _TABLES), "UPDATE cache_total SET bytes = 0"])  # noqa: S608
"""Deletes all rows."""

EMPTY_S: Final = 30.0
"""Seconds that this may take. It waits for transactions that an earlier test has left open."""

_AT_ONCE: Final = signal.SIGQUIT
"""Ends a server without any clean-up but that of its shared memory."""

_FAST: Final = ("deadlock_timeout=50ms", "fsync=off", "full_page_writes=off", "synchronous_commit=off")
"""For tests that are not about what a crash of the machine leaves. Deadlocks are found after 50 ms instead of 1 s."""


_emptying: Final[dict[str, asyncpg.Connection]] = {}
"""The connection that deletes all rows of a database, by its URL. Only the event loop of `_loop` uses it."""


class Cluster:
    """A running server of PostgreSQL.

    Args:
        settings: lines of `postgresql.conf`.
    """

    def __init__(self, *settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ociserver-pg-"))
        lifeline.add_folder(self.folder)
        self._settings = settings
        self._bin = _programs()
        # PostgreSQL refuses to run as root.
        self._user = "postgres" if os.getuid() == 0 else None
        if self._user:
            shutil.chown(self.folder, self._user)
        try:
            self._run(
                "initdb",
                "--pgdata",
                "data",
                "--no-sync",
                "--auth=trust",
                "--username=registry",
                "--encoding=UTF8",
                "--locale=C",
            )
            self.start()
        except BaseException:
            self._remove()
            raise

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = ["listen_addresses=", f"unix_socket_directories={self.folder}", "max_connections=60", *self._settings]
        arguments = [part for option in options for part in ("-c", option)]
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [self._bin / "postgres", "-D", self.folder / "data", *arguments],
                user=self._user,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        lifeline.add_server(self._server.pid, _AT_ONCE)
        deadline = time.monotonic() + 60
        while subprocess.run([self._bin / "pg_isready", "-q", "-h", self.folder], check=False).returncode:
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        """The first process of the server. Each connection has another one."""
        return self._server.pid

    def stop(self) -> None:
        """Stop the server at once, and break all connections, as a restart does."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill all processes of the server, so that the next start recovers from the log."""
        self._end(_AT_ONCE)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all processes of the server for a while: nothing answers, and no connection breaks."""
        main = self._server.pid
        os.kill(main, signal.SIGSTOP)  # the first, so that it makes no other
        processes = [main, *_children_of(main)]
        try:
            for process in processes:
                os.kill(process, signal.SIGSTOP)
            yield
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://registry@/{database}?host={self.folder}"

    def create(self, name: str) -> str:
        """A new database without tables. Returns its URL."""
        run_aside(_execute(self.url(), f'CREATE DATABASE "{name}"'))
        return self.url(name)

    def close(self) -> None:
        if self._server.poll() is None:
            self.kill()  # nothing of it is needed any more, and a usual stop would sync all files
        self._remove()

    def _end(self, by: signal.Signals) -> None:
        self._server.send_signal(by)
        self._server.wait(60)
        lifeline.forget_server(self._server.pid, _AT_ONCE)

    def _remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        lifeline.forget_folder(self.folder)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._bin / program, *arguments], user=self._user, cwd=self.folder, check=True, capture_output=True
        )


def _children_of(process: int) -> list[int]:
    children = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if int(path.read_text().rpartition(")")[2].split()[1]) == process:
                children.append(int(path.parent.name))
    return children


@contextlib.contextmanager
def unprivileged_folder() -> Iterator[Path]:
    """A temporary folder for a server that refuses to run as root."""
    folder = Path(tempfile.mkdtemp(prefix="ociserver-pg-"))
    try:
        if os.getuid() == 0:
            shutil.chown(folder, "postgres")
        yield folder
    finally:
        shutil.rmtree(folder)


@functools.cache
def shared() -> str:
    """The URL of a database with empty tables, which tests share one after another."""
    if url := os.environ.get(_URL):
        return url
    cluster = Cluster(*_FAST)
    atexit.register(cluster.close)
    os.environ[_URL] = url = cluster.create("registry")
    run_aside(_make_tables(url))
    return url


def create(name: str) -> str:
    """A new database without tables, beside the shared one. Returns its URL."""
    url = shared()
    run_aside(_execute(url, f'CREATE DATABASE "{name}"'))
    return url.replace("/registry?", f"/{name}?")


def emptied() -> str:
    """The shared database, without rows."""
    url = shared()
    asyncio.run_coroutine_threadsafe(_empty(url), _loop()).result()
    return url


def run_aside(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine on an event loop of its own, also inside of another one."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(asyncio.run(work))
        except BaseException as error:
            errors.append(error)

    # If a test is given up meanwhile, it must not keep the tests from ending.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


async def _execute(url: str, statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statements)
    finally:
        await connection.close()


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """An event loop in a thread, until the process ends."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


async def _empty(url: str) -> None:
    # A new connection would take longer than the deletion, and there are hundreds of them.
    connection = _emptying.get(url)
    if connection is None or connection.is_closed():
        connection = _emptying[url] = await asyncpg.connect(url)
    try:
        await connection.execute(EMPTY, timeout=EMPTY_S)
    except TimeoutError:
        others = await connection.fetch(
            "SELECT pid, state, wait_event, query FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        raise RuntimeError(f"the tables cannot be emptied; there are other connections: {others}") from None


async def _make_tables(url: str) -> None:
    database = PostgreSQL(url)
    await database.open()
    await database.close()


def _programs() -> Path:
    """The folder of the newest PostgreSQL. Debian has a folder for each version, which is not in PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    if versions:
        return versions[-1]
    found: Path = require_tool("postgres")
    return found.parent


__all__ = ["EMPTY", "Cluster", "create", "emptied", "run_aside", "shared", "unprivileged_folder"]
