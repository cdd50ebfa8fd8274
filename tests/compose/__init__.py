"""The wrappers: what each of them changes; what they pass on is in `tests.contract`."""
