"""The limit of the memory backend is a limit of memory: whatever clients push, the process takes no more than twice it.

Each kind of thing fills a process of its own, since an allocator keeps what it has once got.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.cli.process import serving
from tests.memory.filling import KINDS

MIB = 1 << 20

LIMITS = [8 * MIB, 64 * MIB] if os.environ.get("FULL_TESTS") else [8 * MIB]

linux_only = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from Linux' /proc")


@linux_only
@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: f"{limit // MIB} MiB")
@pytest.mark.parametrize("kind", KINDS)
def test_a_process_takes_no_more_than_twice_the_limit(kind: str, limit: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.memory.filling", kind, str(limit)],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    filled = json.loads(done.stdout)
    assert filled["added"] >= 1
    assert filled["counted"] <= limit
    # Not much less either: then the books would refuse what there is room for.
    assert limit / 6 < filled["grown"] < 2 * limit, filled


def test_empty_uploads_fill_a_server_until_they_end(tmp_path: Path) -> None:
    def begin(connection: HTTPConnection, repository: str) -> tuple[int, str]:
        connection.request("POST", f"/v2/{repository}/blobs/uploads/", b"")
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("Location", "")

    with serving(tmp_path, "--memory-limit", "1MiB", "--no-access-log") as server:
        connection = server.http()
        locations = []
        while (begun := begin(connection, "a"))[0] == 202:
            locations.append(begun[1])
            assert len(locations) <= 4096, "each takes some 1 KiB of the 1 MiB"
        assert begun[0] == 507
        assert len(locations) > 256
        assert begin(connection, "b")[0] == 507, "nor does another repository find room"
        connection.request("DELETE", locations[0])
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 204
        assert begin(connection, "a")[0] == 202
