"""That the cluster of the tests gives requests to its nodes in turn, and that nodes can fail."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from urllib3 import request

from tests.support import postgres
from tests.support.bucket import Versity
from tests.support.cluster import Cluster, cluster, over_bucket

CONTENT = b"on one node only"
BLOB = f"/v2/some/blobs/sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes that share nothing, of which only the first one has the blob."""
    with cluster(tmp_path_factory.mktemp("cluster"), lambda _: '[registry]\nkind = "memory"\n') as nodes:
        url = f"{nodes.nodes[0].server.url}/v2/some/blobs/uploads/?digest={BLOB.rpartition('/')[2]}"
        assert request("POST", url, body=CONTENT).status == 201
        yield nodes


def statuses(nodes: Cluster, times: int = 4) -> list[int]:
    return [request("GET", f"{nodes.url}{BLOB}", retries=False).status for _ in range(times)]


def test_requests_go_to_the_nodes_in_turn(apart: Cluster) -> None:
    assert statuses(apart) in ([200, 404, 200, 404], [404, 200, 404, 200])


@pytest.mark.parametrize("end", ["kill", "drain"])
def test_a_node_that_has_ended_gets_no_requests_until_it_starts_again(apart: Cluster, end: str) -> None:
    getattr(apart.nodes[1], end)()
    assert statuses(apart) == [200, 200, 200, 200]
    apart.nodes[1].start()
    assert sorted(statuses(apart)) == [200, 200, 404, 404]


def test_nodes_over_a_database_and_a_bucket_share_a_blob(bucket: Versity, tmp_path: Path) -> None:
    database = postgres.emptied()
    content = bytes(1 << 20)
    blobs, digest = "/v2/some/blobs", f"sha256:{hashlib.sha256(content).hexdigest()}"
    environment = bucket.environment()
    with cluster(tmp_path, lambda _: over_bucket(database, bucket), environment=environment) as nodes:
        first, second = nodes.nodes
        pushed = request("POST", f"{first.server.url}{blobs}/uploads/?digest={digest}", body=content)
        assert pushed.status == 201
        assert 1 << 20 in bucket.objects().values()
        first.kill()
        assert request("GET", f"{second.server.url}{blobs}/{digest}").data == content


def test_a_node_whose_configuration_is_wrong_shows_its_log(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="unknown kind"),
        cluster(tmp_path, lambda _: '[registry]\nkind = "nowhere"\n'),
    ):
        pytest.fail("there is no cluster")
