"""Unify: several registries as one (Go: `ociunify`). `tests.contract` tests what it shares with every registry."""
