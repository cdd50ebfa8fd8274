"""What every backend has to do, tested against the interface and without HTTP."""
