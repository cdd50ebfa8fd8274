"""Begins readings that nobody takes from: `python -m tests.objects.readings`.

It reads JSON from stdin: where to, and the size of the object. It prints by how many bytes its memory has grown.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial

from ociserver_objects import Bucket
from tests.objects.calls import result_of
from tests.objects.memory import peak

READINGS = 8


def main() -> None:
    given = json.load(sys.stdin)
    bucket = Bucket(given["url"], given["options"])
    before = peak()
    readings = [result_of(partial(bucket.read, given["key"], 0, given["size"])) for _ in range(READINGS)]
    # Long enough to receive all of them many times.
    time.sleep(1)
    print(peak() - before)
    for reading in readings:
        reading.close()


if __name__ == "__main__":
    main()
