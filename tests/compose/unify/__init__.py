"""Unify: several registries as one (Go: `ociunify`). What it does like any other registry is in `tests.contract`."""
