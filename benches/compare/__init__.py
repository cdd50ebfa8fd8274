"""Compares registries with the work of `ociserver bench`: `python -m benches.compare`.

See docs/benchmarks.md.

- `peers` defines how each registry starts, `bounds` what is measured in the same rounds
- `works` defines the work, `rounds` measures it
- `results` keeps the figures, `tables`, `plots` and `targets` show them, `documents` writes them into the documentation
"""
