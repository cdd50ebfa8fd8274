"""Runs the micro benchmarks of this work tree and of an earlier commit in alternating rounds, and reports what became
slower: `python -m benches.guard`.

It checks the earlier commit out into a temporary folder and builds it there with its own Makefile.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benches import divan
from benches.comparison import LEAST_ROUNDS, Row, compare, table

ROOT: Final = Path(__file__).parents[1]
BENCH_S: Final = 0.2
"""Duration of one benchmark in a round, unless a single run is longer. Several rounds say more than one long round."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.guard", description=__doc__)
    parser.add_argument("--base", default="HEAD~1", help="the commit to compare with (%(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=5, help=f"rounds of each commit, {LEAST_ROUNDS} or more (%(default)s)"
    )
    parser.add_argument("--only", default="", help="only benchmarks with this text in their names")
    parser.add_argument("--fail", action="store_true", help="exit with status 1 if something became slower")
    arguments = parser.parse_args()
    if arguments.rounds < LEAST_ROUNDS:
        parser.error(f"--rounds must be at least {LEAST_ROUNDS}")
    with _checked_out(arguments.base) as base:
        trees = (base, ROOT)
        for tree in trees:
            _build(tree)
        rounds: dict[Path, list[dict[str, float]]] = {tree: [] for tree in trees}
        for number in range(arguments.rounds):
            # Each commit is first in every other round.
            for tree in trees if number % 2 else reversed(trees):
                rounds[tree].append({**_python(tree, arguments.only), **_rust(tree, arguments.only)})
            print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
    rows = compare(rounds[base], rounds[ROOT])
    print(table(rows))
    for name, here, there in (("base", base, ROOT), ("now", ROOT, base)):
        if only := sorted(rounds[here][0].keys() - rounds[there][0].keys()):
            print(f"\nonly in {name}: {', '.join(only)}")
    return status(rows, fail=arguments.fail)


def status(rows: list[Row], *, fail: bool) -> int:
    """Return the exit status. Shared machines are unreliable, so a slower benchmark is a failure only on request."""
    return int(fail and any(row.is_slower for row in rows))


@contextmanager
def _checked_out(revision: str) -> Iterator[Path]:
    """Provide a work tree of a commit until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "base"
        _run(ROOT, "git", "worktree", "add", "--quiet", "--detach", str(tree), revision)
        try:
            yield tree
        finally:
            _run(ROOT, "git", "worktree", "remove", "--force", str(tree))


def _build(tree: Path) -> None:
    _run(tree, "make", "--silent", "dev", f"PYTHON={sys.executable}")
    _run(tree, *_RUST_BENCHES, "--no-run")


def _python(tree: Path, only: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "benchmarks.json"
        # The speed of hashlib is not ours.
        wanted = f"not hashlib and {only}" if only else "not hashlib"
        times = ["--benchmark-max-time", str(BENCH_S), "--benchmark-min-rounds", "5", "--timeout", "0"]
        command = [str(tree / ".venv/bin/pytest"), "--quiet", "--benchmark-enable", "--benchmark-only", *times]
        # pytest reports by its exit status that no benchmark was selected.
        command += ["-W", "ignore:Not saving anything"]
        _run(tree, *command, "-k", wanted, "--benchmark-json", str(output), "benches", allowed=_NOTHING_SELECTED)
        if not output.exists():
            return {}
        benchmarks = json.loads(output.read_text())["benchmarks"]
    return {f"Python: {benchmark['name']}": benchmark["stats"]["median"] for benchmark in benchmarks}


def _rust(tree: Path, only: str) -> dict[str, float]:
    printed = _run(tree, *_RUST_BENCHES, "--", *([only] if only else []), "--max-time", str(BENCH_S))
    return {f"Rust: {name}": seconds for name, seconds in divan.medians(printed.splitlines()).items()}


_RUST_BENCHES: Final = ("cargo", "bench", "--locked", "--quiet", "--package", "ociserver-*", "--bench", "*")
"""Every benchmark of every crate. Patterns, because an earlier commit may have other crates."""

_NOTHING_SELECTED: Final = 5
"""pytest's exit status if no test was selected."""


def _run(folder: Path, *command: str, allowed: int = 0) -> str:
    """Return the output of a command. It inherits the environment, except for the variables of Python and make.

    Raises:
        SystemExit: the command failed. Its output has been printed.
    """
    program = shutil.which(command[0])
    if program is None:
        raise SystemExit(f"guard: {command[0]} is missing: see CONTRIBUTING.md, Set up")
    # Variables of a calling make, and of the Python environment of this process.
    ours = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "VIRTUAL_ENV"}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        [program, *command[1:]],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode not in {0, allowed}:
        print(done.stdout, file=sys.stderr)
        raise SystemExit(f"guard: {' '.join(command)} failed in {folder} with status {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
