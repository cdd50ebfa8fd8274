"""Gives each contender the same work, one after another. Each round begins with another contender."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from benches.compare.contenders import Contender, Measurable, shorten
from benches.compare.memory import Filler
from benches.compare.results import Figure, Sample
from benches.compare.works import Work
from ociserver._core import cores_apart
from ociserver.bench import BenchError
from ociserver.bench.server_cpu import server_cpu_seconds

Say = Callable[[str], None]

_SHORT: Final = {"requests/s": "/s", "images/s": "images/s", "bytes/s": "B/s"}


def measure(
    work: Work, contenders: Sequence[Contender], rounds: int, seconds: float, say: Say, filler: Filler | None = None
) -> list[Figure]:
    """Return one figure for each contender, in their order."""
    if work.fill and filler:
        say(f"{work.text}: filling free memory")
        filler.fill()
    prepared: dict[str, tuple[Contender, Measurable]] = {}
    figures: dict[str, Figure] = {}
    for contender in contenders:
        say(f"{work.text}: preparing {contender.name}")
        figures[contender.name] = Figure(work.name, work.text, "", contender.name)
        try:
            measurable = contender.prepare(work, seconds)
            measurable.set_up()
            measurable.make_ready()
        except (BenchError, OSError, AssertionError) as error:
            figures[contender.name].failed = shorten(f"{type(error).__name__}: {error}")
            continue
        prepared[contender.name] = contender, measurable
    for number in range(rounds):
        for name in _turned(list(prepared), number):
            contender, measurable = prepared[name]
            figure = figures[name]
            if figure.failed:
                continue
            say(f"{work.text}: round {number + 1} of {rounds}, {name}")
            _measure(work, contender, measurable, figure, filler)
    for name, (_, measurable) in prepared.items():
        if work.clean and not figures[name].failed:
            measurable.clean()
    return list(figures.values())


def _measure(work: Work, contender: Contender, measurable: Measurable, figure: Figure, filler: Filler | None) -> None:
    measurable.make_ready()
    if work.fill and filler:
        filler.fill()
    if work.sync:
        os.sync()
    apart = cores_apart()
    server = (contender.pid,) if contender.pid else ()
    before = server_cpu_seconds(server)
    result = measurable.measure()
    after = server_cpu_seconds(server)
    used = after - before if before is not None and after is not None else None
    apart = max(filter(None, (apart, cores_apart())), default=None)
    figure.unit = result.unit
    if result.failed:
        # The samples of earlier rounds stay, together with the reason.
        figure.failed = shorten(result.failed)
        return
    figure.samples.append(
        Sample(
            result.rate, result.p50_ms, result.p99_ms, result.count, result.seconds, result.bytes, used,
            result.client_cpu_seconds, result.errors, apart,
        )
    )  # fmt: skip
    if work.clean:
        measurable.clean()


def _turned(names: list[str], number: int) -> Iterator[str]:
    first = number % len(names) if names else 0
    yield from names[first:]
    yield from names[:first]


def brief(figure: Figure) -> str:
    """Format a figure on one line, as progress."""
    if not figure.samples:
        return f"{figure.server}: {figure.failed}"
    low, high = figure.spread
    unit = _SHORT[figure.unit]
    return f"{figure.server}: {figure.median():,.4g} {unit} ({low:,.3g}-{high:,.3g})"
