"""Registries beside each other, with the work of `ociserver bench`: `python -m benches.compare`.

See docs/benchmarks.md.

- `peers` says how each registry is started, `bounds` what is measured beside them
- `works` says what is measured, `rounds` measures it
- `results` keeps the figures, `tables`, `plots` and `targets` show them, `documents` writes them into the documentation
"""
