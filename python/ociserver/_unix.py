"""Says on which systems the package works. `ociserver` imports this module before all others.

The store, the server and the compiled core call functions of Unix for files, locks and processes.
"""

from __future__ import annotations

try:
    import fcntl
except ImportError as error:
    raise ImportError("ociserver needs Linux or macOS. On Windows, run it in WSL or in a container.") from error

del fcntl
