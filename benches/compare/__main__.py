"""The command: `python -m benches.compare --help`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from benches import nginx
from benches.compare import documents, peers, rounds
from benches.compare.bounds import LABELS, bounds
from benches.compare.contenders import Contender, Elsewhere, registries
from benches.compare.memory import Filler
from benches.compare.processes import peak_memory
from benches.compare.results import Group, load_all
from benches.compare.works import GROUPS, Work, chosen
from tests.serving.site import Site
from tests.support.authority import Authority, Issued

_RESULTS: Final = Path(__file__).parents[2] / "results"
_LOGINS: Final = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
_QUICK: Final = (
    "manifest-get-tag",
    "image-push",
    "image-push-collecting",
    "start",
    "upload-put",
    "download",
    "tags-page-5000",
)


def main() -> int:
    arguments = _arguments()
    folder: Path = arguments.results
    if not arguments.report:
        for name, works in chosen(arguments.only).items():
            small = tuple(work.smaller() for work in works) if arguments.quick else works
            _measure(name, [replace(work, hash=arguments.hash) for work in small], arguments, folder)
    report = load_all(folder, list(GROUPS))
    if not report.groups:
        print(f"there are no figures in {folder}: run this without --report first", file=sys.stderr)
        return 1
    print(documents.write(report, folder))
    if arguments.documents:
        documents.publish(report)
    return 0


def _measure(name: str, works: Sequence[Work], arguments: argparse.Namespace, results: Path) -> None:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {text}", file=sys.stderr, flush=True)

    wanted = [peer for peer in peers.PEERS.values() if peer.name in arguments.peers or peer.name == peers.OURS]
    with tempfile.TemporaryDirectory(prefix="compare-", dir=arguments.folder) as temporary:
        folder = Path(temporary)
        certificate = _certificate(arguments.tls, folder) if arguments.tls else None
        with registries(wanted, arguments.binary, folder, certificate) as (running, missing):
            logins = [one.port for one in running if peers.PEERS[one.name].login]
            peers.write_logins(folder / "logins", logins, _LOGINS / "config.json")
            os.environ["DOCKER_CONFIG"] = str(folder / "logins")
            elsewhere = [Elsewhere(*one) for one in arguments.running.items()]
            ours = next((Site("127.0.0.1", one.port, one.pid) for one in running if one.name == peers.OURS), None)
            needed = {bound for work in works for bound in work.bounds}
            if "nginx" in needed and not nginx.is_installed():
                missing["nginx"] = "no nginx: tests/tools/peers/build nginx"
                needed.remove("nginx")
            with bounds(sorted(needed), ours, folder, certificate) as beside:
                everyone: list[Contender] = [*running, *elsewhere, *beside]
                labels = {one.name: peers.PEERS[one.name].label for one in running}
                labels |= {one.name: one.name for one in elsewhere} | {one.name: LABELS[one.name] for one in beside}
                settings = {name: getattr(arguments, name) for name in ("rounds", "seconds", "hash", "tls")}
                group = Group(name, settings, labels, missing)
                for reason in missing.items():
                    say("{}: {}".format(*reason))
                filler = Filler(folder)
                for work in works:
                    those = [one for one in everyone if one.name in work.bounds or one not in beside]
                    for figure in rounds.measure(work, those, arguments.rounds, arguments.seconds, say, filler):
                        group.figures.append(figure)
                        say(f"{work.text}: {rounds.brief(figure)}")
                filler.close()
                group.memory = {one.name: peak_memory(one.pid) for one in running}
    group.save(results)
    say(f"{name} is done")


def _certificate(kind: str, folder: Path) -> Issued:
    """A certificate for all servers, whose authority this process trusts."""
    authority = Authority(folder, "authority")
    os.environ["SSL_CERT_FILE"] = str(authority.file)
    return authority.issue("server", server=True, rsa_bits=2048 if kind == "rsa" else None)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benches.compare", description=__doc__)
    known = ", ".join(name for name in peers.PEERS if name != peers.OURS)
    parser.add_argument("--only", default="", metavar="NAMES", help="groups or works, separated by commas")
    parser.add_argument(
        "--peers", default="", metavar="NAMES", help=f"registries besides ours, separated by commas: {known}"
    )
    parser.add_argument(
        "--binary", action="append", default=[], metavar="NAME=PATH", help="path of a registry's program"
    )
    parser.add_argument(
        "--running", action="append", default=[], metavar="NAME=URL", help="URL of a registry that already runs"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each figure (%(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds of load in a round (%(default)s)")
    parser.add_argument("--hash", action="store_true", help="let the client hash what it sends and receives")
    parser.add_argument(
        "--tls",
        choices=("ecdsa", "rsa"),
        help="serve HTTPS, with a certificate whose key is on P-256, or has 2,048 bits",
    )
    parser.add_argument("--quick", action="store_true", help="one registry and one short round, to check that it runs")
    parser.add_argument("--report", action="store_true", help="measure nothing, and show the existing figures")
    parser.add_argument(
        "--documents",
        action="store_true",
        help="write the figures into docs/benchmarks.md, benches/FIGURES.md and the README",
    )
    parser.add_argument("--results", type=Path, help="folder for JSON, table and plots (results/compare)")
    parser.add_argument("--folder", type=Path, help="folder for the data of the registries, some 30 GB")
    arguments = parser.parse_args()
    try:
        arguments.only = [name for name in arguments.only.split(",") if name]
        chosen(arguments.only)
        arguments.binary = {name: Path(path) for name, path in map(_pair, arguments.binary)}
        arguments.running = dict(map(_pair, arguments.running))
        arguments.peers = _peers(arguments.peers, arguments.binary)
    except ValueError as error:
        parser.error(str(error))
    if arguments.quick:
        arguments.rounds, arguments.seconds = 1, 0.2
        arguments.peers = ["crane"]
        arguments.only = arguments.only or list(_QUICK)
    folder = "compare-quick" if arguments.quick else "compare"
    arguments.results = arguments.results or _RESULTS / (f"{folder}-{arguments.tls}" if arguments.tls else folder)
    if arguments.documents and arguments.tls:
        parser.error("--documents publishes figures without TLS")
    return arguments


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ValueError(f"{text!r} is not NAME=VALUE")
    return name, value


def _peers(text: str, binaries: dict[str, Path]) -> list[str]:
    """Return the named registries, or else all over a folder or memory that are built here or have a binary."""
    names = [name for name in text.split(",") if name]
    if unknown := [name for name in [*names, *binaries] if name not in peers.PEERS]:
        raise ValueError(f"{unknown[0]!r} is not a known registry; known are {', '.join(peers.PEERS)}")
    by_default = [
        name
        for name, peer in peers.PEERS.items()
        if peer.keeps != "objects" and (peer.binary or name.partition("+")[0] in binaries)
    ]
    return names or by_default


if __name__ == "__main__":
    sys.exit(main())
