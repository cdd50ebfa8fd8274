"""A process that ends while a thread of an extension calls Python back."""

from __future__ import annotations

import subprocess
import sys

import pytest

_ENDS_DURING_A_CALL = """
import sys
import threading
import time

called = threading.Event()

def callback(*results):
    called.set()
    # It asks for the GIL many times, while the interpreter shuts down if that does not wait.
    for _ in range(100):
        time.sleep(0.02)

class SlowToFlush:
    closed = False

    def flush(self):  # The interpreter calls it while it shuts down.
        time.sleep(0.5)

{work}
called.wait()
sys.stdout = SlowToFlush()
"""

_HASHES = """
from ociserver._core import BackgroundHasher

hasher = BackgroundHasher()
hasher.add(bytes(100 << 20))
hasher.when_left(0, callback)
"""

_ASKS_A_BUCKET = """
from ociserver_objects import Bucket

options = {"endpoint": "http://127.0.0.1:9", "allow_http": "true", "access_key_id": "a", "secret_access_key": "b"}
Bucket("s3://bucket", options, retry_s=0.1, timeout_s=1.0).size("key", callback)
"""


@pytest.mark.parametrize("work", [_HASHES, _ASKS_A_BUCKET], ids=["hash", "bucket"])
def test_a_process_ends_during_a_call(work: str) -> None:
    script = _ENDS_DURING_A_CALL.format(work=work)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stderr) == (0, "")
