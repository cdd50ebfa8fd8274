"""Measures how fast a registry answers. Each workload is prepared, measured and cleaned up independently.

`ociserver._core.run_load`, in Rust, makes the requests. This package defines them.
"""

from ociserver.bench.prepared import Prepared
from ociserver.bench.runner import NAMES, Bench
from ociserver.bench.server_cpu import server_processes
from ociserver.bench.target import BenchError, Target
from ociserver.bench.workload import Result
from ociserver.bench.workloads import WORKLOADS, Settings

__all__ = ["NAMES", "WORKLOADS", "Bench", "BenchError", "Prepared", "Result", "Settings", "Target", "server_processes"]
