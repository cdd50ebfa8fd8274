"""Measures small reads of our server, and a constant answer of the same bytes on granian."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benches import heads, wrk
from benches.baseline import ANSWER_PATH
from benches.connection import Answer, Connection
from benches.contents import REPOSITORY, SMALL_BLOBS, TAGS, digest_of, manifest, small_blob, tag
from benches.figures import Figure
from benches.load import Load
from benches.overwriting import Overwriter
from benches.servers import serve
from tests.serving.site import Site


@dataclass(frozen=True, slots=True)
class Read:
    """A kind of read: the paths, which are read in random order, and the method and headers."""

    name: str
    paths: Sequence[str]
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    overwrite: bool = False


_TAG_PATHS = [f"/v2/{REPOSITORY}/manifests/{tag(number)}" for number in range(TAGS)]
_DIGESTS = [digest_of(manifest(number)) for number in range(TAGS)]
_BLOBS = [digest_of(small_blob(number)) for number in range(SMALL_BLOBS)]

READS = (
    Read("GET manifest by tag, tags being overwritten", _TAG_PATHS, overwrite=True),
    Read("GET manifest by tag", _TAG_PATHS),
    Read("HEAD manifest by tag", _TAG_PATHS, "HEAD"),
    Read("GET manifest by digest", [f"/v2/{REPOSITORY}/manifests/{digest}" for digest in _DIGESTS]),
    # One digest, because wrk sends the same headers with every path.
    Read(
        "GET manifest by digest, 304",
        [f"/v2/{REPOSITORY}/manifests/{_DIGESTS[0]}"],
        headers={"If-None-Match": f'"{_DIGESTS[0]}"'},
    ),
    Read("GET blob of 4 KiB", [f"/v2/{REPOSITORY}/blobs/{digest}" for digest in _BLOBS]),
    Read("HEAD blob", [f"/v2/{REPOSITORY}/blobs/{digest}" for digest in _BLOBS], "HEAD"),
)


LOOPS = {"constant answer": "asyncio", "constant answer, uvloop": "uvloop"}
"""What ours is compared with: granian with its defaults (the targets refer to this), and with the loop of `serve`."""


def measure(
    registry: Site,
    rounds: int,
    seconds: int,
    only: str = "",
    *,
    target: float | None = None,
    overwritten_target: float | None = None,
) -> Iterator[Figure]:
    """Measure each kind of read in alternating rounds of a registry and of the constant answers.

    Args:
        registry: a registry with the contents of `registry.fill`.
        rounds: rounds of each figure.
        seconds: seconds of load in a round.
        only: measure only reads with this text in their names.
        target: the least acceptable ratio.
        overwritten_target: the least acceptable ratio while tags are overwritten.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        constants = [stack.enter_context(serve("benches.baseline:constant", loop)) for loop in LOOPS.values()]
        sites = [registry, *constants]
        # One for the whole run, because it knows where the tags point.
        overwriters = [Overwriter(site, check=site is registry) for site in sites]
        for read in READS:
            if only not in read.name:
                continue
            paths = folder / "paths"
            paths.write_text("".join(f"{path}\n" for path in read.paths))
            for constant in constants:
                _copy_answer(registry, constant, read, read.paths[0])
            wish = overwritten_target if read.overwrite else target
            figures = [Figure(read.name, "/s", name, None if index else wish) for index, name in enumerate(LOOPS)]
            for round_number in range(rounds):
                loads: dict[int, Load] = {}
                # They take turns being first.
                for turn in range(len(sites)):
                    index = (turn + round_number) % len(sites)
                    with overwriters[index] if read.overwrite else contextlib.nullcontext():
                        if read.method == "HEAD":
                            loads[index] = heads.run(sites[index], read.paths, seconds)
                        else:
                            loads[index] = wrk.run(sites[index], paths, read.headers, seconds)
                for index, figure in enumerate(figures, 1):
                    figure.add(
                        loads[0].rate,
                        loads[index].rate,
                        cpu_us=loads[0].cpu_us,
                        base_cpu_us=loads[index].cpu_us,
                        p99_us=loads[0].p99_us,
                        base_p99_us=loads[index].p99_us,
                    )
            if read.overwrite:
                figures[0].add_note("overwrites", overwriters[0].writes)
                figures[0].add_note("checked_reads", overwriters[0].reads)
            yield from figures


def _copy_answer(registry: Site, constant: Site, read: Read, path: str) -> None:
    """Make the constant application answer as the registry does, without the headers that granian adds to both."""
    with Connection(registry) as connection:
        answer = connection.request(read.method, path, headers=read.headers)
    headers = [(name, value) for name, value in answer.headers if name not in {"date", "server"}]
    content = {"status": answer.status, "headers": headers, "body": answer.body.decode("latin-1")}
    with Connection(constant) as connection:
        connection.request("PUT", ANSWER_PATH, json.dumps(content).encode())
        copied = connection.request(read.method, path, headers=read.headers)
    assert _without_date(copied) == _without_date(answer), f"{copied} is not {answer}"


def _without_date(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    return answer.status, [header for header in answer.headers if header[0] != "date"], answer.body
