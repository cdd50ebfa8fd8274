"""Measures what authentication costs, and what wrong passwords take away: `python -m benches.signed_in`.

Two servers have the same store, one with users and one without. The rounds alternate. Both trust a proxy, for the
addresses of those who guess, because that has a cost of its own.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

from benches import heads, wrk
from benches.contents import REPOSITORY, TAGS, digest_of, manifest, tag
from benches.durable import prepare, serve_store
from benches.figures import Figure, machine, save, table
from benches.load import Load
from benches.registry import fill
from ociserver.auth.passwords import hash_password
from tests.serving.site import Site

_RESULTS: Final = Path(__file__).parents[1] / "results"
_PASSWORD: Final = "the password of the benchmark"
_SERVER: Final = """\
[server]
trusted-proxies = ["127.0.0.1"]
"""
_USERS: Final = """\
[auth.htpasswd]
file = "users.htpasswd"
[[auth.rules]]
authenticated = true
repositories = ["*"]
allow = ["pull"]
"""
_BY_TAG: Final = [f"/v2/{REPOSITORY}/manifests/{tag(number)}" for number in range(TAGS)]
_BY_DIGEST: Final = [f"/v2/{REPOSITORY}/manifests/{digest_of(manifest(number))}" for number in range(TAGS)]

_GUESSERS: Final = 32
"""Clients that guess. Each waits for its answer, so many are needed to keep the queue of the server full."""

_DRAIN_S: Final = 3.0
"""Seconds in which the server checks what is in its queue when the guesses end. Otherwise that is part of the next
measurement without guesses."""

Run = Callable[[Site, dict[str, str]], Load]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.signed_in", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each figure (%(default)s)")
    parser.add_argument("--seconds", type=int, default=2, help="seconds of load in a round (%(default)s)")
    parser.add_argument("--guesses", type=int, default=100, help="wrong passwords in a second (%(default)s)")
    arguments = parser.parse_args()
    if not wrk.is_installed():
        print("wrk is missing: on Debian and Ubuntu run 'apt-get install wrk'", file=sys.stderr)
        return 1
    figures = []
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in range(2)]
        (folders[1] / "users.htpasswd").write_text(f"alice:{hash_password(_PASSWORD.encode())}\n")
        sites = []
        for folder, config in zip(folders, (_SERVER, _SERVER + _USERS), strict=True):
            prepare(folder, fill)
            (folder / "registry.toml").write_text(config)
            sites.append(stack.enter_context(serve_store(folder, "--config", str(folder / "registry.toml"))))
        plain, ours = sites
        for figure in _measure(ours, plain, arguments):
            print(table([figure]).splitlines()[-1], flush=True)
            figures.append(figure)
    print(f"\n{machine()}\n\n{table(figures)}")
    save(figures, _RESULTS / "signed_in.json", vars(arguments))
    return 0


def _measure(ours: Site, plain: Site, arguments: argparse.Namespace) -> Iterator[Figure]:
    token = {"Authorization": f"Bearer {_token(ours)}"}
    with tempfile.TemporaryDirectory() as folder:
        runs: dict[str, Run] = {
            "GET manifest by tag": _wrk(Path(folder, "tags"), _BY_TAG, arguments.seconds),
            "GET manifest by digest": _wrk(Path(folder, "digests"), _BY_DIGEST, arguments.seconds),
            "HEAD manifest by tag": lambda site, headers: heads.run(site, _BY_TAG, arguments.seconds, headers),
        }
        for name, run in runs.items():
            figure = Figure(f"{name}, with a token", "/s", "without users", 0.8)
            for number in range(arguments.rounds):
                # Each is first in every other round.
                results: dict[Site, Load] = {}
                for site, headers in ((ours, token), (plain, {}))[:: 1 if number % 2 else -1]:
                    results[site] = run(site, headers)
                figure.add(results[ours].rate, results[plain].rate, cpu_us=results[ours].cpu_us)
            yield figure
        figure = Figure(f"pulls during {arguments.guesses} wrong passwords/s", "/s", "without them", 0.8)
        for _ in range(arguments.rounds):
            base = runs["GET manifest by tag"](ours, token).rate
            with _guessing(ours, arguments.guesses) as answers:
                rate = runs["GET manifest by tag"](ours, token).rate
            figure.add(rate, base, hashed=answers.get(401, 0), refused=answers.get(429, 0))
        yield figure


def _wrk(paths: Path, targets: list[str], seconds: int) -> Run:
    paths.write_text("\n".join(targets))
    return lambda site, headers: wrk.run(site, paths, headers, seconds)


def _token(site: Site) -> str:
    connection = HTTPConnection(site.host, site.port)
    path = f"/v2/token?scope=repository:{REPOSITORY}:pull"
    connection.request("GET", path, headers={"Authorization": _basic("alice", _PASSWORD)})
    text: str = json.loads(connection.getresponse().read())["token"]
    connection.close()
    return text


@contextmanager
def _guessing(site: Site, rate: int) -> Iterator[dict[int, int]]:
    """Send wrong passwords for other users from other addresses, so that no limit for one of them applies."""
    answers: dict[int, int] = {}
    stop = threading.Event()

    def guess() -> None:
        connection = HTTPConnection(site.host, site.port)
        while not stop.wait(_GUESSERS / rate):
            address = ".".join(str(random.randrange(1, 255)) for _ in range(4))
            headers = {"Authorization": _basic(f"user{random.random()}", "wrong"), "X-Forwarded-For": address}
            connection.request("GET", "/v2/", headers=headers)
            answer = connection.getresponse()
            answer.read()
            answers[answer.status] = answers.get(answer.status, 0) + 1
        connection.close()

    guessers = [threading.Thread(target=guess) for _ in range(_GUESSERS)]
    for guesser in guessers:
        guesser.start()
    try:
        yield answers
    finally:
        stop.set()
        for guesser in guessers:
            guesser.join()
        time.sleep(_DRAIN_S)


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


if __name__ == "__main__":
    sys.exit(main())
