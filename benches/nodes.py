"""Measures what a second node brings, over one PostgreSQL and one bucket: `python -m benches.nodes`.

All of it runs on this machine, so two nodes would only compete for its cores. Therefore each node gets a fixed part of
a core, and is the bottleneck: as on a machine of its own that is so much smaller. Each has its own clients, and there
is no load balancer. It needs root, and the control group `cpu` of version 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from benches.compare.tables import table
from ociserver.bench import Bench, Settings, Target
from ociserver.bench.prepared import Prepared
from ociserver.bench.server_cpu import server_cpu_seconds
from tests.support.bucket import versity
from tests.support.cluster import Node, over_bucket
from tests.support.postgres import Cluster
from tests.support.threads import together

WORKS: Final = ("manifest-get-tag", "manifest-head-tag", "image-pull", "image-push", "mount")
_PERIOD_US: Final = 10_000
"""Microseconds in which a node may use its part: few, so that it never stands still for long."""

_GROUP: Final = Path("/sys/fs/cgroup/cpu")


@dataclass(slots=True)
class _Rounds:
    """The rates of the rounds with a number of nodes, and the processor time of each operation, in seconds."""

    rates: list[float] = field(default_factory=list)
    cpu: dict[str, list[float]] = field(default_factory=dict)

    def add(self, rate: float, count: int, cpu: Mapping[str, float]) -> None:
        self.rates.append(rate)
        for name, seconds in cpu.items():
            self.cpu.setdefault(name, []).append(seconds / count)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.nodes", description=__doc__)
    parser.add_argument("--core", type=float, default=0.25, help="part of a core that a node gets (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each figure (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds of load in a round (%(default)s)")
    parser.add_argument("--clients", type=int, default=16, help="clients of each node (%(default)s)")
    parser.add_argument("--only", choices=WORKS, action="append", help="measure only this")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        database = Cluster()
        stack.callback(database.close)
        store = stack.enter_context(versity(Path(folder)))
        url = database.create("registry")
        nodes = [Node(Path(folder, f"node{at}"), over_bucket(url, store), store.environment(), ()) for at in range(2)]
        for node in nodes:
            stack.callback(node.kill)
        together(node.start for node in nodes)
        beside = {"PostgreSQL": database.pid, "bucket": store.process.pid}
        for work in arguments.only or WORKS:
            rows.append(_measure(work, nodes, beside, arguments))
            print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    head = (
        "work",
        "one node",
        "two nodes",
        "ratio",
        *(f"{name}, µs" for name in ("node", "PostgreSQL", "bucket", "load")),
    )
    print(table(head, rows))
    return 0


def _measure(
    work: str, nodes: Sequence[Node], beside: Mapping[str, int], arguments: argparse.Namespace
) -> tuple[str, ...]:
    prepared = []
    for number, node in enumerate(nodes):
        settings = Settings(f"nodes/{work}/{number}", clients=arguments.clients, seconds=arguments.seconds)
        one = Bench(Target(f"http://127.0.0.1:{node.process.port}"), settings).prepare(work)
        assert isinstance(one, Prepared)
        one.set_up()
        prepared.append((one, node.process.pid))
    with ExitStack() as stack:
        for _, pid in prepared:
            stack.enter_context(_limited(pid, arguments.core))
        rounds = {1: _Rounds(), 2: _Rounds()}
        for number in range(arguments.rounds):
            for count in (1, 2) if number % 2 else (2, 1):
                _run(prepared[:count], beside, rounds[count])
    alone, both = rounds[1], rounds[2]
    cpu = [f"{median(alone.cpu[name]) * 1e6:.0f}, {median(both.cpu[name]) * 1e6:.0f}" for name in alone.cpu]
    return work, _text(alone.rates), _text(both.rates), f"{median(both.rates) / median(alone.rates):.2f}", *cpu


def _run(prepared: Sequence[tuple[Prepared, int]], beside: Mapping[str, int], rounds: _Rounds) -> None:
    for one, _ in prepared:
        one.make_ready()
    pids = {"node": tuple(pid for _, pid in prepared)} | {name: (pid,) for name, pid in beside.items()}
    before = _used(pids)
    with ThreadPoolExecutor(len(prepared)) as threads:
        results = list(threads.map(lambda each: each[0].measure(), prepared))
    used = {name: seconds - before[name] for name, seconds in _used(pids).items()}
    if failed := [result.failed or result.errors for result in results if result.failed or result.errors]:
        raise RuntimeError(f"a node failed: {failed[0]}")
    rounds.add(sum(result.rate for result in results), sum(result.count for result in results), used)


def _used(pids: Mapping[str, tuple[int, ...]]) -> dict[str, float]:
    """The processor time so far, in seconds, by name. The load is made by this process."""
    return {name: server_cpu_seconds(those) or 0.0 for name, those in pids.items()} | {"load": time.process_time()}


@contextmanager
def _limited(pid: int, core: float) -> Iterator[None]:
    """Give a process a part of a core until the block ends."""
    group = _GROUP / f"ociserver-bench-{pid}"
    group.mkdir()
    try:
        (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(int(core * _PERIOD_US)))
        (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        (_GROUP / "cgroup.procs").write_text(str(pid))
        group.rmdir()


def _text(rates: Sequence[float]) -> str:
    return f"{median(rates):,.0f} ({min(rates):,.0f}-{max(rates):,.0f})"


if __name__ == "__main__":
    sys.exit(main())
