"""Reading what divan prints: a tree with columns."""

from __future__ import annotations

from benches.divan import medians

PRINTED = """\
Timer precision: 20 ns
core                   fastest       │ slowest       │ median        │ mean          │ samples │ iters
├─ digest              41.1 ns       │ 60.2 ns       │ 42.5 ns       │ 43 ns         │ 100     │ 800
├─ hash                              │               │               │               │         │
│  ├─ 0                              │               │               │               │         │
│  │  ├─ 64            90 ns         │ 110 ns        │ 95.5 ns       │ 96 ns         │ 100     │ 800
│  │  │                711 MB/s      │ 581 MB/s      │ 670 MB/s      │ 666 MB/s      │         │
│  │  ╰─ 1048576       530.1 µs      │ 700 µs        │ 540 µs        │ 555 µs        │ 100     │ 100
│  ╰─ 2                              │               │               │               │         │
│     ╰─ 64            150 ns        │ 200 ns        │ 160 ns        │ 170 ns        │ 100     │ 800
╰─ request                           │               │               │               │         │
   ├─ GET /v2/         12 ns         │ 20 ns         │ 13 ns         │ 14 ns         │ 100     │ 800
   ╰─ 10,000 layers    2 ms          │ 1.2 s         │ 2.5 ms        │ 3 ms          │ 100     │ 100
"""


def test_medians_by_name() -> None:
    found = {name: f"{seconds:.6g}" for name, seconds in medians(PRINTED.splitlines()).items()}
    assert found == {
        "digest": "4.25e-08",
        "hash/0/64": "9.55e-08",
        "hash/0/1048576": "0.00054",
        "hash/2/64": "1.6e-07",
        "request/GET /v2/": "1.3e-08",
        "request/10,000 layers": "0.0025",
    }


def test_nothing_of_other_lines() -> None:
    assert medians(["warning: unused", "", "running 0 tests"]) == {}
