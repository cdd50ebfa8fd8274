"""Contents in a browser: served with the type that the client chose, and with nothing that runs in them."""

from __future__ import annotations

import pytest

from ociserver import Handler, Memory, Store
from tests.contract.contents import REPOSITORY, digest_of, push_blob, push_manifest
from tests.handler.driver import request

pytestmark = pytest.mark.anyio

PAGE = b"<script>alert(document.domain)</script>"
BLOB = f"/v2/{REPOSITORY}/blobs/{digest_of(PAGE)}"
MANIFESTS = [f"/v2/{REPOSITORY}/manifests/{reference}" for reference in ("page", digest_of(PAGE))]


@pytest.mark.parametrize("kind", ["memory", "store"])
@pytest.mark.parametrize(
    "method, path, headers",
    [
        *[(method, path, {}) for path in (*MANIFESTS, BLOB) for method in ("GET", "HEAD")],
        ("GET", BLOB, {"range": "bytes=0-5"}),
        ("GET", BLOB, {"range": "bytes=0-5,10-15"}),
        # A header that takes the read out of what is answered without waiting.
        *[("GET", path, {"if-none-match": '"other"'}) for path in (*MANIFESTS, BLOB)],
    ],
)
async def test_nothing_runs(
    kind: str, method: str, path: str, headers: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    backend = Memory() if kind == "memory" else Store(tmp_path_factory.mktemp("store") / "data", durability="off")
    async with Handler(backend) as application:
        await push_blob(application.backend, PAGE)
        await push_manifest(application.backend, PAGE, "text/html", "page")
        # The second read of a store is answered from its memory.
        for reply in [await request(application, method, path, headers=headers) for _ in range(2)]:
            assert reply.status in (200, 206)
            assert reply["x-content-type-options"] == "nosniff"
            policy = {directive.strip() for directive in reply["content-security-policy"].split(";")}
            # No script, no style, no request; and an origin of its own, without forms or pop-ups.
            assert policy == {"default-src 'none'", "sandbox"}
            if path in MANIFESTS:
                assert reply["content-type"] == "text/html"
