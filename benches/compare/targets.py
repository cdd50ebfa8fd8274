"""The targets of the comparison, and whether the figures reach them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from benches.compare.peers import OURS, OURS_OVER_OBJECTS, PEERS, Peer
from benches.compare.results import Figure, Report
from benches.compare.tables import number, table

Value = Callable[[Figure], float | None]
Choice = Callable[[Peer], bool]


def _rate(figure: Figure) -> float | None:
    return figure.median()


def _cpu(figure: Figure) -> float | None:
    return figure.cpu_per_gb


def _on_disk(peer: Peer) -> bool:
    return peer.keeps == "disk"


def _any(peer: Peer) -> bool:
    return peer.keeps != "objects"


@dataclass(frozen=True, slots=True)
class Target:
    """A target ratio of our figure to the best figure of some other registries.

    Args:
        works: the target applies to each of these separately.
        against: text that describes the others.
        factor: the least ratio of ours to theirs, or for a cost the greatest.
        choice: selects the other registries. None if the target is a bound.
        names: names of further registries or bounds.
        value: the value that is compared.
        costs: True if less is better.
        unless_bound: drop the target if it would require more than the constant answer reaches.
        ours: which of ours is compared.
    """

    works: tuple[str, ...]
    against: str
    factor: float
    choice: Choice | None = None
    names: tuple[str, ...] = ()
    value: Value = _rate
    costs: bool = False
    unless_bound: bool = False
    ours: str = OURS


_MANIFESTS: Final = ("manifest-get-tag", "manifest-head-tag", "manifest-get-digest", "manifest-head-digest")
_PUTS: Final = ("upload-put", "upload-chunked")

TARGETS: Final = (
    Target(_MANIFESTS, "granian, constant answer", 0.85, names=("constant",)),
    Target(_MANIFESTS, "best on disk", 1.8, _on_disk, unless_bound=True),
    Target(_MANIFESTS, "Go's ociserver, in memory", 1.1, names=("ociregistry",)),
    Target(("blob-get-4k",), "best on disk", 1.5, _on_disk),
    Target(("image-push",), "distribution", 6, lambda peer: _on_disk(peer) and peer.name.startswith("distribution")),
    Target(("image-push",), "best on disk without sync", 1.5, lambda peer: _on_disk(peer) and not peer.syncs),
    Target(("image-pull",), "best on disk", 1.3, _on_disk),
    Target(_PUTS, "best on disk", 1.6, _on_disk),
    Target(_PUTS, "best of all, including in memory", 1.6, _any),
    Target(_PUTS, "best on disk, CPU s/GB", 0.6, _on_disk, value=_cpu, costs=True),
    Target(("download",), "best on disk", 1, _on_disk),
    Target(("download",), "nginx", 1, names=("nginx",)),
    Target(("download",), "best on disk, CPU s/GB", 1, _on_disk, value=_cpu, costs=True),
    Target(("tags-page-5000", "catalog-page-5000", "referrers-page-5000"), "best on disk", 10, _on_disk),
    Target(("tags-put",), "best on disk", 1, _on_disk),
    Target(
        (*_MANIFESTS, "image-push", "image-pull", *_PUTS, "download", "tags-page-5000"),
        "distribution, both over the same object store",
        1,
        names=("distribution3+s3",),
        ours=OURS_OVER_OBJECTS,
    ),
)

MEMORY_MIB: Final = 100.0
START_MS: Final = 500.0

_HEAD: Final = ("work", "ours", "compared with", "kind", "ratio", "target", "reached")


def rows(report: Report) -> Iterator[tuple[str, ...]]:
    """Yield a row for each work of each target, and for memory and start-up."""
    for target in TARGETS:
        for work in target.works:
            if (ours := report.figure(work, target.ours)) is not None:
                yield _row(report, target, ours)
    if (memory := report.memory(OURS)) is not None:
        yield _limit("peak memory, all processes", memory, MEMORY_MIB, "MiB")
    if (start := report.figure("start", OURS)) is not None:
        yield _limit("start-up to first answer", start.median("p50_ms"), START_MS, "ms")


def _row(report: Report, target: Target, ours: Figure) -> tuple[str, ...]:
    goal = f"<= {target.factor:g}" if target.costs else f">= {target.factor:g}"
    mine, best = target.value(ours), _best(report, target, ours.work)
    if mine is None or best is None:
        none = "none measured"
        return (ours.text, _shown(target, ours, mine), none, target.against, "", goal, "-")
    name, theirs = best
    ratio = mine / theirs
    reached = "yes" if (ratio <= target.factor if target.costs else ratio >= target.factor) else "no"
    bound = report.figure(ours.work, "constant")
    if reached == "no" and target.unless_bound and bound and theirs * target.factor > bound.median():
        reached = "beyond the constant answer"
    beside = f"{_shown(target, ours, theirs)}, {report.labels[name]}"
    return (ours.text, _shown(target, ours, mine), beside, target.against, f"{ratio:.2f}", goal, reached)


def _best(report: Report, target: Target, work: str) -> tuple[str, float] | None:
    names = [*target.names, *_chosen(target)]
    found = [
        (name, value) for name in names if (figure := report.figure(work, name)) and (value := target.value(figure))
    ]
    if not found:
        return None
    return (min if target.costs else max)(found, key=lambda one: one[1])


def _chosen(target: Target) -> Iterable[str]:
    choice = target.choice
    return (
        ()
        if choice is None
        else (peer.name for peer in PEERS.values() if peer.name.partition("+")[0] != OURS and choice(peer))
    )


def _shown(target: Target, figure: Figure, value: float | None) -> str:
    if value is None:
        return ""
    if target.costs:
        return f"{value:.2f} s"
    return f"{value / 1e9:.2f} GB/s" if figure.unit == "bytes/s" else f"{number(value)}/s"


def _limit(what: str, value: float, limit: float, unit: str) -> tuple[str, ...]:
    return (what, f"{value:.0f} {unit}", "", "", "", f"< {limit:.0f} {unit}", "yes" if value < limit else "no")


def targets(report: Report) -> str:
    """Return all targets as a Markdown table."""
    return table(_HEAD, list(rows(report)))
