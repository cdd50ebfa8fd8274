"""How fast a registry answers: workloads, each made ready by itself, measured, and cleaned up.

Requests are made by Rust (`ociserver._core.run_load`); here is what they are.
"""

from ociserver.bench.prepared import Prepared
from ociserver.bench.runner import Bench
from ociserver.bench.target import BenchError, Target
from ociserver.bench.workload import Result
from ociserver.bench.workloads import WORKLOADS, Settings

__all__ = ["WORKLOADS", "Bench", "BenchError", "Prepared", "Result", "Settings", "Target"]
