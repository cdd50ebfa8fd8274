"""What each wrapper changes. `tests.contract` tests what wrappers pass on."""
