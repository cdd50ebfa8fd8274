"""Uploads in a process of its own: `python -m tests.objects.memory`.

It reads JSON from stdin: where to. It prints by how many bytes its memory has grown.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from pathlib import Path

from ociserver_objects import Bucket, PartWriter
from tests.objects.calls import kept

PART_SIZE = 8 << 20
SIZE = 160 << 20


def peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def main() -> None:
    given = json.load(sys.stdin)
    bucket = Bucket(given["url"], given["options"])
    writer = PartWriter(bucket, "sha256", part_size=PART_SIZE, in_flight=3, on_full=lambda: None)
    writer.begin(given["key"], given["multipart_id"])
    before = peak()
    piece = bytes(256 << 10)
    for _ in range(SIZE // len(piece)):
        backlog = writer.add(piece)
        assert backlog is not None
        if backlog > writer.high_water_mark:
            left = threading.Event()
            writer.when_left(writer.high_water_mark // 2, left.set)
            left.wait()
    kept(writer)
    print(peak() - before)


if __name__ == "__main__":
    main()
