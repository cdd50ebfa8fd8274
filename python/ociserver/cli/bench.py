"""`ociserver bench`: measures how fast any registry is."""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ociserver._core import is_repository
from ociserver.cli.errors import CommandError, missing_packages
from ociserver.cli.parameters import DURATION, SIZE, Command, option
from ociserver.cli.registries import token_host_option
from ociserver.cli.table import counted, rows_of
from ociserver.cli.terminal import progress
from ociserver.units import format_size

if TYPE_CHECKING:
    from ociserver.bench import Bench, Result

__all__ = ["bench"]

_WHAT: Final = "What to measure"
_HOW: Final = "How to go about it"


@click.command(cls=Command, short_help="Measure how fast a registry is.")
@click.argument("url")
@option(
    "--only",
    section=_WHAT,
    default="",
    show_default=False,
    metavar="NAMES",
    help="Workloads, separated by commas. By default all.",
)
@option("--clients", section=_WHAT, type=click.IntRange(1, 1024), default=8, metavar="N", help="Clients at once.")
@option(
    "--seconds",
    section=_WHAT,
    type=DURATION,
    default="3s",
    metavar="DURATION",
    help="How long each workload is measured. What it reads is pushed before that.",
)
@option("--large", section=_WHAT, type=SIZE, default="256MiB", metavar="SIZE", help="Size of a large blob.")
@option(
    "--entries",
    section=_WHAT,
    type=click.IntRange(1, 1_000_000),
    default=1000,
    metavar="N",
    help="Length of the lists whose pages are read, and number of blobs to mount.",
)
@option(
    "--repository",
    section=_HOW,
    metavar="NAME",
    default=None,
    show_default="ociserver-bench/ and a random name",
    help="Repository to push to, and to others under it.",
)
@option(
    "--hash",
    section=_HOW,
    is_flag=True,
    help="Hash what is sent and received, as real clients do. It takes processor time of this machine.",
)
@option(
    "--server-pid",
    section=_HOW,
    type=click.IntRange(min=1),
    metavar="PID",
    default=None,
    show_default="the processes that listen at the port, on this machine",
    help="Process of the server, whose processor time is reported with that of its descendants.",
)
@option("--keep", section=_HOW, is_flag=True, help="Keep the pushed contents, instead of deleting them.")
@token_host_option
@option("--json", "json_file", section=_HOW, metavar="FILE", help="Write the figures as JSON to a file; - is stdout.")
def bench(
    *,
    url: str,
    only: str,
    clients: int,
    seconds: float,
    large: int,
    entries: int,
    repository: str | None,
    hash: bool,
    server_pid: int | None,
    keep: bool,
    json_file: str | None,
    token_hosts: tuple[str, ...],
) -> None:
    """Measure the registry at URL, such as http://localhost:5000.

    The command pushes what it reads, and deletes it at the end. Credentials are those of `docker login`. Exit status: 0
    at least one workload was run; 1 none; 2 the command line is wrong.
    """
    try:
        # aiohttp is installed with the extra `client`.
        from ociserver.bench import NAMES, Bench, BenchError, Settings, Target, server_processes
    except ImportError as error:
        raise missing_packages(error) from None
    names = [name.strip() for name in only.split(",") if name.strip()] or list(NAMES)
    if unknown := [name for name in names if name not in NAMES]:
        raise click.UsageError(f"{unknown[0]!r} is not a workload; choose from {', '.join(NAMES)}.")
    repository = repository or f"ociserver-bench/{secrets.token_hex(4)}"
    if not is_repository(repository):
        raise click.UsageError(f"{repository!r} is not the name of a repository.")
    if seconds <= 0 or large < 1:
        raise click.UsageError("--seconds and --large must be more than 0.")
    try:
        # Ask once before anything is pushed, so that a wrong URL or password is reported at once.
        target = Target(url, token_hosts)
        target.header([f"repository:{repository}:pull,push"])
        server = (server_pid,) if server_pid else server_processes(*target.address)
        settings = Settings(repository, clients, seconds, large, entries, hash=hash, server=server)
        measuring = Bench(target, settings, keep=keep)
        results = _measured(measuring, names)
    except BenchError as error:
        raise CommandError(str(error)) from None
    if json_file != "-":
        _show(results)
        if keep:
            click.echo(f"the pushed contents are in {repository} and below it")
    if measuring.left:
        answers = ", ".join(f"{counted(count, 'time')} {what}" for what, count in measuring.left.items())
        click.echo(f"not everything in {repository} and below it could be deleted: {answers}", err=True)
    if json_file:
        report = {
            "url": url,
            "repository": repository,
            "workloads": [dataclasses.asdict(result) for result in results],
            "not_deleted": dict(measuring.left),
        }
        _write(json_file, json.dumps(report, indent=2))
    if all(result.failed for result in results):
        raise CommandError("no workload could be run, see above. Is the login allowed to push there?")


def _measured(measuring: Bench, names: Sequence[str]) -> list[Result]:
    results = []
    with progress("measuring") as advance:
        for done, name in enumerate(names):

            def on_progress(part: float, done: int = done, name: str = name) -> None:
                advance(done + part, len(names), name)

            on_progress(0.0)
            results.append(measuring.run(name, on_progress))
            on_progress(1.0)
    return results


def _show(results: Sequence[Result]) -> None:
    for line in rows_of(_rows(results)):
        click.echo(line)
    for result in results:
        if result.failed:
            click.echo(f"{result.name}: {result.failed}")


def _rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    head = ("workload", "clients", "rate", "server CPU", "p50", "p99", "p99.9", "count", "client CPU", "errors")
    return [head, *map(_row, results)]


def _row(result: Result) -> tuple[str, ...]:
    errors = ", ".join(f"{counted(count, 'time')} {what}" for what, count in result.errors.items()) or "-"
    if result.failed:
        return (result.name, str(result.clients), "failed", "-", "-", "-", "-", str(result.count), "-", errors)
    rate = f"{format_size(int(result.rate))}/s" if result.unit == "bytes/s" else f"{result.rate:.0f} {result.unit}"
    # In percent of one core. At 100 %, the client may be the bottleneck.
    cpu = f"{result.client_cpu_seconds / result.seconds:.0%}"
    times = (f"{time:.2f} ms" for time in (result.p50_ms, result.p99_ms, result.p999_ms))
    return (result.name, str(result.clients), rate, _server_cpu(result), *times, str(result.count), cpu, errors)


def _server_cpu(result: Result) -> str:
    used = result.server_cpu_seconds
    if used is None or not result.count:
        return "-"
    if result.unit == "bytes/s":
        return f"{used / result.bytes * 1e9:.2f} s/GB"
    return f"{used / result.count * 1e6:.0f} µs each"


def _write(name: str, text: str) -> None:
    if name == "-":
        click.echo(text)
        return
    try:
        Path(name).write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror}") from None
