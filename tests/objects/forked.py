"""Uses a bucket before and after a fork: `python -m tests.objects.forked`. It reads JSON from stdin: where to."""

from __future__ import annotations

import json
import os
import sys
from functools import partial

from ociserver_objects import Bucket
from tests.objects.calls import result_of


def main() -> None:
    given = json.load(sys.stdin)
    bucket = Bucket(given["url"], given["options"])
    result_of(partial(bucket.size, given["key"]))
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        sys.exit(os.waitstatus_to_exitcode(status))
    try:
        bucket.size(given["key"], print)
    except RuntimeError as error:
        size = result_of(partial(Bucket(given["url"], given["options"]).size, given["key"]))
        print("opened before a fork" if "before a fork" in str(error) else error, size, sep="; ", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
