"""What docker with graph drivers sends. It knows the scope that it needs, and reads only the challenge of a ping.

Written down from moby b985e23 (daemon/pkg/registry/auth.go for logins; daemon/internal/distribution/pull_v2.go,
push_v2.go and registry.go) and from docker/distribution 2.8, which it contains (registry/client/repository.go,
blob_writer.go and auth/session.go; manifest/schema2/builder.go).
"""

from __future__ import annotations

from typing import Final

from tests.clients.steps import BEGIN, LOCATION, OCI_TYPE, OCTETS, PING, PULL, PUSH, TOKEN, Step

__all__ = ["DOCKER"]

_ACCEPT: Final = tuple(
    ("Accept", media_type)
    for media_type in (
        OCI_TYPE,
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.index.v1+json",
    )
)
"""Several headers, and not one with commas."""

_DOCKER_MANIFEST: Final = (("Content-Type", "application/vnd.docker.distribution.manifest.v2+json"),)


# Login

_LOGIN: Final = "GET {realm}?account=alice&client_id=docker&offline_token=true&service={service}"

_docker_login = [
    PING,
    Step(_LOGIN, 200, "Basic alice", takes=TOKEN),
    Step("GET /v2/", 200, "Bearer token"),
]

_docker_login_wrong = [
    PING,
    # The daemon shows the message of this answer, and stores nothing.
    Step(_LOGIN, 401, "Basic alice:wrong"),
]


# Pull and push


def _docker_token(actions: str, user: str = "", also: str = "", takes: str = "token") -> Step:
    account = f"account={user}&" if user else ""
    source = f"&scope=repository%3A{also}%3Apull" if also else ""
    query = f"{account}scope=repository%3A{{repository}}%3A{actions}{source}&service={{service}}"
    return Step(f"GET {{realm}}?{query}", 200, f"Basic {user}" if user else "", takes={takes: "token"})


_docker_contents = [
    Step("HEAD /v2/{repository}/manifests/v1", 200, "Bearer token", headers=_ACCEPT, answer={
        "Docker-Content-Digest": "{digest}", "Content-Type": OCI_TYPE,
    }),
    Step("GET /v2/{repository}/manifests/{digest}", 200, "Bearer token", headers=_ACCEPT),
    Step("GET /v2/{repository}/blobs/{config_digest}", 200, "Bearer token"),
    Step("GET /v2/{repository}/blobs/{layer_digest}", 200, "Bearer token"),
]  # fmt: skip

_docker_pull_refused = [
    Step("HEAD /v2/{repository}/manifests/v1", 401, "Bearer token", headers=_ACCEPT, challenge={
        **PULL, "error": "insufficient_scope",
    }),
    # Once more, for the message.
    Step("GET /v2/{repository}/manifests/v1", 401, "Bearer token", headers=_ACCEPT, challenge={
        **PULL, "error": "insufficient_scope",
    }),
]  # fmt: skip

_docker_pull_denied = [
    Step(f"{method} /v2/{{repository}}/manifests/v1", 403, "Bearer token", headers=_ACCEPT)
    for method in ("HEAD", "GET")
]


def _docker_upload(name: str, begin: Step) -> list[Step]:
    """One PATCH with the content in chunks, of a size that is not told, and a PUT without a body."""
    return [
        begin,
        Step(
            "PATCH {location}",
            202,
            "Bearer token",
            name,
            (*OCTETS, ("Transfer-Encoding", "chunked")),
            takes=LOCATION,
            answer={"Range": f"0-{{{name}_last}}"},
        ),
        Step(f"PUT {{location}}?digest={{{name}_digest}}", 201, "Bearer token"),
        Step(f"HEAD /v2/{{repository}}/blobs/{{{name}_digest}}", 200, "Bearer token"),
    ]


_MOUNT: Final = "POST /v2/{repository}/blobs/uploads/?from={source}&mount={layer_digest}"

_docker_push = [
    PING,
    _docker_token("push%2Cpull", "alice"),
    Step("HEAD /v2/{repository}/blobs/{layer_digest}", 404, "Bearer token"),
    # A mount gets a token of its own.
    _docker_token("push%2Cpull", "alice", also="{source}", takes="mount"),
    Step(_MOUNT, 201, "Bearer mount"),
    Step("HEAD /v2/{repository}/blobs/{layer_digest}", 200, "Bearer token"),
    # What cannot be mounted: the upload that has begun is used.
    _docker_token("push%2Cpull", "alice", also="secret%2Fapp", takes="mount"),
    *_docker_upload("other", Step(
        "POST /v2/{repository}/blobs/uploads/?from=secret%2Fapp&mount={other_digest}", 202, "Bearer mount",
        takes=LOCATION,
    )),
    Step("HEAD /v2/{repository}/blobs/{config_digest}", 404, "Bearer token"),
    *_docker_upload("config", BEGIN),
    Step("PUT /v2/{repository}/manifests/v1", 201, "Bearer token", "docker_manifest", _DOCKER_MANIFEST, answer={
        "Docker-Content-Digest": "{docker_manifest_digest}",
    }),
]  # fmt: skip

_docker_push_denied = [
    PING,
    # A token with less than was asked for is no error.
    _docker_token("push%2Cpull", "bob"),
    Step("HEAD /v2/{repository}/blobs/{layer_digest}", 404, "Bearer token"),
    Step("POST /v2/{repository}/blobs/uploads/", 403, "Bearer token"),
]

_docker_push_anonymous = [
    PING,
    _docker_token("push%2Cpull"),
    Step("POST /v2/{repository}/blobs/uploads/", 401, "Bearer token", challenge={
        **PUSH, "error": "insufficient_scope",
    }),
]  # fmt: skip


DOCKER: Final = {
    # name: the repository, and what is sent
    "docker-login": ("", _docker_login),
    "docker-login-wrong-password": ("", _docker_login_wrong),
    "docker-pull-public-without-login": ("public/v1/example", [PING, _docker_token("pull"), *_docker_contents]),
    "docker-pull-private": ("team/v1/example", [PING, _docker_token("pull", "bob"), *_docker_contents]),
    "docker-pull-private-without-login": ("team/v1/example", [PING, _docker_token("pull"), *_docker_pull_refused]),
    "docker-pull-private-without-right": (
        "team/v1/example",
        [PING, _docker_token("pull", "mallory"), *_docker_pull_denied],
    ),
    "docker-push": ("team/docker-push", _docker_push),
    "docker-push-without-right": ("team/docker-denied", _docker_push_denied),
    "docker-push-without-login": ("team/docker-anonymous", _docker_push_anonymous),
}
