"""Benchmarks: pieces with pytest-benchmark (`test_*.py`), and whole servers (`python -m benches.end_to_end`)."""
