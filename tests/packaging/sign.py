"""Signs a URL with the installed extension for object storage. `tests/packaging/check_wheel` runs it.

It needs no store, but loads the extension, its runtime and its TLS.
"""

from __future__ import annotations

import queue
import sys
from pathlib import Path

import ociserver
import ociserver_objects


def main() -> None:
    installed = Path(ociserver_objects.__file__)
    assert installed.is_relative_to(sys.prefix), installed
    assert ociserver_objects.build_profile == "release"
    assert ociserver_objects.__version__ == ociserver.__version__
    options = {"access_key_id": "somebody", "secret_access_key": "secret", "region": "eu-1"}
    bucket = ociserver_objects.Bucket("s3://bucket/prefix", options)
    done: queue.SimpleQueue[tuple[str | None, Exception | None]] = queue.SimpleQueue()
    bucket.sign("key", 60, {}, lambda url, error: done.put((url, error)))
    url, error = done.get(timeout=30)
    assert url is not None, error
    assert url.startswith("https://s3.eu-1.amazonaws.com/bucket/prefix/key?"), url
    print(f"ociserver_objects {ociserver_objects.__version__} in {installed.parent}: signed a URL")


if __name__ == "__main__":
    main()
