"""The pull-through cache. What it does like any other registry is in `tests.contract`."""
