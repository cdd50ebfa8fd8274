"""The server process behind `ociserver serve`: sockets, event loop, workers, health checks, log and reload.

Commands and flags are in `ociserver.cli`, which knows this package. This package knows no command and no flag.
"""
