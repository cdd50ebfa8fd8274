"""Compares the durable store with its bounds on the same disk, in one run: `python -m benches.store_speed`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Final

from benches import images, nginx, reads, wrk
from benches.contents import REPOSITORY
from benches.durable import peak_memory, prepare, serve_store
from benches.figures import Figure, machine, save, table
from benches.registry import fill
from benches.servers import serve
from benches.transfers import MIB, Content, Work, alternate, check, drop, get, patches, post, put
from tests.serving.site import Site

_RESULTS: Final = Path(__file__).parents[1] / "results"
PATCH_SIZE: Final = 5 * MIB
_BOUNDS: Final = ("receive and drop", "SHA-256, one core", "write and fsync")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benches.store_speed", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each figure (%(default)s)")
    parser.add_argument("--seconds", type=int, default=2, help="seconds of load in a round of reads (%(default)s)")
    parser.add_argument("--only", choices=_PARTS, help="measure only this part")
    parser.add_argument("--folder", type=Path, help="folder on the disk to measure (the system's temporary folder)")
    arguments = parser.parse_args()
    if not wrk.is_installed() or not nginx.is_installed():
        print("wrk or nginx is missing: on Debian and Ubuntu run 'apt-get install wrk nginx'", file=sys.stderr)
        return 1
    figures: list[Figure] = []
    for name, measure in _PARTS.items():
        if arguments.only in (None, name):
            with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
                for figure in measure(Path(folder), arguments.rounds, arguments.seconds):
                    print(table([figure]).splitlines()[-1], flush=True)
                    figures.append(figure)
    print(f"\n{machine()}\n\n{table(figures)}")
    settings = {name: str(value) for name, value in vars(arguments).items()}
    save(figures, _RESULTS / "store_speed.json", settings)
    return 0


def _small_reads(folder: Path, rounds: int, seconds: int) -> Iterator[Figure]:
    prepare(folder, fill)
    with serve_store(folder) as registry:
        for figure in reads.measure(registry, rounds, seconds, target=0.80):
            figure.add_note("peak_mib", peak_memory(registry))
            yield figure


def _uploads(folder: Path, rounds: int, _: int) -> Iterator[Figure]:
    size, seeds, scratch = 256 * MIB, count(1), folder / "written"
    # Made before, so that making them is not measured. Each is pushed once.
    contents = iter([Content(size, next(seeds)) for _ in range(4 * (rounds + 1))])
    same = Content(size)

    def forget() -> None:
        # Reuse memory of the system, as in a registry that has run for a while. Otherwise each upload waits for new
        # memory, except for the one after a deletion.
        for path in (folder / "data" / "blobs").glob("*/*"):
            path.unlink()

    with serve_store(folder) as registry, serve("benches.baseline:drop") as dropping:
        works: dict[str, tuple[Site | None, Work]] = {
            "POST": (registry, lambda: post(registry, next(contents))),
            "PUT": (registry, lambda: put(registry, next(contents))),
            "PATCH": (registry, lambda: patches(registry, next(contents), PATCH_SIZE)),
            "receive and drop": (dropping, lambda: drop(dropping, same)),
            "SHA-256, one core": (None, lambda: check(same)),
            "write and fsync": (None, lambda: _write(scratch, next(contents))),
        }
        after: dict[str, Work] = {"write and fsync": scratch.unlink, "POST": forget, "PUT": forget, "PATCH": forget}
        rates, cpu, apart = alternate(works, after, size, rounds)
        for name in ("POST", "PUT"):
            # The slowest of the bounds in each round.
            figure = Figure(f"{name} of {size // MIB} MiB", "MB/s", "slowest bound", 0.6)
            for index in range(rounds):
                bounds = {bound: rates[bound][index] for bound in _BOUNDS}
                figure.add(rates[name][index], min(bounds.values()), cpu_s_per_gb=_per_gb(cpu[name][index], size))
                for bound, rate in bounds.items():
                    figure.add_note(bound, rate)
            figure.notes["apart_ns"] = apart
            yield figure
        figure = Figure(f"PATCHes of 5 MiB, {size // MIB} MiB in all", "MB/s", "one PUT", 0.9)
        for index in range(rounds):
            figure.add(rates["PATCH"][index], rates["PUT"][index], cpu_s_per_gb=_per_gb(cpu["PATCH"][index], size))
        figure.notes["apart_ns"] = apart
        figure.add_note("peak_mib", peak_memory(registry))
        yield figure


def _download(folder: Path, rounds: int, _: int) -> Iterator[Figure]:
    content, static = Content(64 * MIB, 1), folder / "static"
    static.mkdir()
    _write(static / "blob", content)
    with serve_store(folder) as registry, nginx.serve_files(static, folder) as files:
        put(registry, content)
        works: dict[str, tuple[Site | None, Work]] = {
            "GET": (registry, lambda: get(registry, f"/v2/{REPOSITORY}/blobs/{content.digest}", content)),
            "nginx": (files, lambda: get(files, "/blob", content)),
        }
        rates, cpu, apart = alternate(works, {}, content.size, 4 * rounds)
        figure = Figure("GET blob of 64 MiB", "MB/s", "nginx", 1.0)
        for index in range(4 * rounds):
            used, base = (_per_gb(cpu[name][index], content.size) for name in ("GET", "nginx"))
            figure.add(rates["GET"][index], rates["nginx"][index], cpu_s_per_gb=used, base_cpu_s_per_gb=base)
        figure.notes["apart_ns"] = apart
        figure.add_note("peak_mib", peak_memory(registry))
        yield figure


def _images(folder: Path, rounds: int, _: int) -> Iterator[Figure]:
    figure = Figure(f"push small images, {images.CLIENTS} clients", "images/s", "syncs of the disk a second")
    with serve_store(folder) as registry:
        images.push(registry, images.make(200))
        for _round in range(rounds):
            batch = images.make(2000)
            rate = images.sync_rate(folder)
            pushed = images.push(registry, batch)
            cpu_ms = 1e3 * pushed.cpu_seconds / pushed.images
            figure.add(pushed.rate, rate, cpu_ms=cpu_ms, p50_ms=1e3 * pushed.p50_s, p99_ms=1e3 * pushed.p99_s)
        syncs = images.syncs_per_image(registry, images.make(1000))
        if syncs is not None:
            figure.add_note("syncs_per_image", syncs)
        figure.add_note("peak_mib", peak_memory(registry))
    yield figure


def _write(path: Path, content: Content) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    for piece in content.pieces:
        os.write(fd, piece)
    os.fsync(fd)
    os.close(fd)


def _per_gb(cpu_ms: float, size: int) -> float:
    return cpu_ms / 1e3 / (size / 1e9)


_PARTS: Final[dict[str, Callable[[Path, int, int], Iterator[Figure]]]] = {
    "reads": _small_reads,
    "uploads": _uploads,
    "download": _download,
    "images": _images,
}

if __name__ == "__main__":
    sys.exit(main())
