"""Continues an upload in a process of its own: `python -m tests.objects.other_process`.

It reads JSON from stdin: where to, the state of the upload, and bytes to add. It prints digest and length of all bytes.
"""

from __future__ import annotations

import base64
import json
import sys

from ociserver_objects import Bucket, PartWriter
from tests.objects.calls import kept, result_of

PART_SIZE = 5 << 20


def main() -> None:
    given = json.load(sys.stdin)
    bucket = Bucket(given["url"], given["options"])
    writer = PartWriter.resume(
        bucket,
        base64.b64decode(given["state"]),
        key=given["key"],
        multipart_id=given["multipart_id"],
        etags=given["etags"],
        tail=base64.b64decode(given["tail"]),
        part_size=PART_SIZE,
        in_flight=2,
        on_full=lambda: None,
    )
    writer.add(base64.b64decode(given["add"]))
    kept(writer)
    etag = result_of(writer.flush_tail)
    result_of(lambda done: bucket.complete(given["key"], given["multipart_id"], [*writer.etags, etag], done))
    json.dump({"digest": writer.digest(), "length": writer.length}, sys.stdout)


if __name__ == "__main__":
    main()
