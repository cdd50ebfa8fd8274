"""Pushes and pulls with an installed package. `tests/packaging/check` runs it in a separate environment.

It may import only the standard library and the package, because nothing else is installed there.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import ociserver
from tests.support.http import send, with_query
from tests.support.images import CONFIG, LAYER, MANIFEST, digest_of, random_bytes
from tests.support.server import Server, serve


def main() -> None:
    # The installed package must be tested, and not the checkout that contains this file.
    installed = Path(ociserver.__file__)
    assert installed.is_relative_to(sys.prefix), installed
    assert ociserver.build_profile == "release"
    ociserver.Handler(ociserver.Memory())  # the library, without the server
    program = Path(sys.executable).with_name("ociserver")
    with tempfile.TemporaryDirectory() as folder:
        with serve(["--memory"], Path(folder), program=[str(program)]) as server:
            _push_and_pull(server)
        # The log is written in the background, and complete when the server has ended.
        log = server.log.read_text()
        assert server.url in log, f"the address was not printed:\n{log}"
    print(f"ociserver {ociserver.__version__} in {installed.parent}: pushed, pulled, tagged and listed")


def _push_and_pull(server: Server) -> None:
    config, layer = b'{"os":"linux","architecture":"amd64"}', random_bytes(5 << 20, seed=20)
    for content in (config, layer):
        location = send(server, "POST", "/v2/smoke/image/blobs/uploads/").headers["Location"]
        pushed = send(server, "PUT", with_query(location, f"digest={digest_of(content)}"), content)
        assert pushed.status == 201, pushed
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": digest_of(config), "size": len(config)},
        "layers": [{"mediaType": LAYER, "digest": digest_of(layer), "size": len(layer)}],
    }
    body = json.dumps(manifest).encode()
    pushed = send(server, "PUT", "/v2/smoke/image/manifests/v1", body, {"Content-Type": MANIFEST})
    assert pushed.status == 201, pushed

    pulled = send(server, "GET", "/v2/smoke/image/manifests/v1")
    assert (pulled.body, pulled.headers["Content-Type"]) == (body, MANIFEST)
    for content in (config, layer):
        assert send(server, "GET", f"/v2/smoke/image/blobs/{digest_of(content)}").body == content
    tags = send(server, "GET", "/v2/smoke/image/tags/list")
    assert json.loads(tags.body) == {"name": "smoke/image", "tags": ["v1"]}


if __name__ == "__main__":
    main()
