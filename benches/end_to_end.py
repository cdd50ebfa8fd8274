"""Measures whole servers as ratios in one run: `python -m benches.end_to_end`.

Each figure is measured in alternating rounds, so that other load on the machine affects both sides. See
docs/performance.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benches import reads, transfers, wrk
from benches.figures import Figure, machine, save, table
from benches.in_memory import serve_memory

_RESULTS = Path(__file__).parents[1] / "results"


def main() -> int:
    arguments = _arguments()
    if not wrk.is_installed():
        print("wrk is missing: on Debian and Ubuntu run 'apt-get install wrk'", file=sys.stderr)
        return 1
    figures: list[Figure] = []
    for measure in _parts(arguments):
        for figure in measure():
            print(table([figure]).splitlines()[-1], flush=True)
            figures.append(figure)
    print(f"\n{machine()}\n\n{table(figures)}")
    path = _RESULTS / ("quick.json" if arguments.quick else "end_to_end.json")
    save(figures, path, vars(arguments))
    print(f"\nEvery round: {path}")
    return 0


def _parts(arguments: argparse.Namespace) -> Iterator[Callable[[], Iterator[Figure]]]:
    rounds, seconds, only = arguments.rounds, arguments.seconds, arguments.only
    yield lambda: _small_reads(rounds, seconds, only)
    yield lambda: transfers.measure(rounds, 64 * transfers.MIB if arguments.quick else 256 * transfers.MIB, only)


def _small_reads(rounds: int, seconds: int, only: str) -> Iterator[Figure]:
    with serve_memory() as registry:
        yield from reads.measure(registry, rounds, seconds, only, overwritten_target=0.85)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benches.end_to_end", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each figure (%(default)s)")
    parser.add_argument("--seconds", type=int, default=2, help="seconds of load in a round (%(default)s)")
    parser.add_argument("--only", default="", help="only figures with this text in their names")
    parser.add_argument("--quick", action="store_true", help="three short rounds, to check that it runs")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds = 3, 1
    return arguments


if __name__ == "__main__":
    sys.exit(main())
