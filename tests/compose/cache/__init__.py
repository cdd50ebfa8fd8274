"""The pull-through cache. `tests.contract` tests what it shares with every registry."""
