"""Benchmarks: of pieces with pytest-benchmark (`bench_*.py`), and of whole servers (`python -m benches.end_to_end`)."""
