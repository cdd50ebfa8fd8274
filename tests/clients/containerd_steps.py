"""What containerd's resolver sends, and CRI-O: kubelet hands them the user and the password of an imagePullSecret.

docker with the image store of containerd, nerdctl and BuildKit have the same resolver. It sends a request without a
ping, and reads each challenge.

Written down from containerd 2.4.2 (core/remotes/docker: authorizer.go, auth/fetch.go, scope.go, resolver.go, pusher.go)
and from containers/image 5.42 (docker/docker_client.go), which CRI-O, podman and skopeo have.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tests.clients.steps import BEGIN, OCI_TYPE, OCTETS, PING, PULL, TOKEN, Step

__all__ = ["CONTAINERD"]

_ACCEPT: Final = (("Accept", f"application/vnd.docker.distribution.manifest.v2+json, {OCI_TYPE}, */*"),)
_FORM: Final = (("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"),)
_OCI_MANIFEST: Final = (("Content-Type", OCI_TYPE),)


def _post_token(scope: str, user: str, password: str = "{password}", status: int = 200) -> Step:
    """It falls back to GET after 400, 401, 404 or 405."""
    form = f"client_id=containerd-client&grant_type=password&password={password}&scope={scope}&service={{service}}"
    taken = {"token": "access_token"} if status == 200 else {}
    return Step("POST {realm}", status, body=f"{form}&username={user}", headers=_FORM, takes=taken)


_RESOLVE: Final = Step("HEAD /v2/{repository}/manifests/v1", 401, headers=_ACCEPT, challenge=PULL)
_PULL_FORM: Final = "repository%3A{repository}%3Apull"

_containerd_contents = [
    Step("HEAD /v2/{repository}/manifests/v1", 200, "Bearer token", headers=_ACCEPT, answer={
        "Docker-Content-Digest": "{digest}", "Content-Type": OCI_TYPE,
    }),
    Step("GET /v2/{repository}/manifests/{digest}", 200, "Bearer token", headers=_ACCEPT),
    Step("GET /v2/{repository}/blobs/{config_digest}", 200, "Bearer token"),
    Step("GET /v2/{repository}/blobs/{layer_digest}", 200, "Bearer token"),
]  # fmt: skip

_containerd_public = [Step(step.request, step.status, headers=step.headers) for step in _containerd_contents]

_containerd_anonymous = [
    _RESOLVE,
    Step("GET {realm}?scope=repository%3A{repository}%3Apull&service={service}", 200, takes=TOKEN),
    # The same request again, and an `error`: it gives up.
    Step("HEAD /v2/{repository}/manifests/v1", 401, "Bearer token", headers=_ACCEPT, challenge={
        **PULL, "error": "insufficient_scope",
    }),
]  # fmt: skip

_containerd_wrong = [
    _RESOLVE,
    _post_token(_PULL_FORM, "bob", "wrong", 401),
    Step("GET {realm}?scope=repository%3A{repository}%3Apull&service={service}", 401, "Basic bob:wrong"),
]

_containerd_identity_token = [
    # Another registry could have given docker a refresh token. This one gives none, and takes none.
    _RESOLVE,
    Step(
        "POST {realm}",
        400,
        body="client_id=containerd-client&grant_type=refresh_token&refresh_token=x&service={service}",
        headers=_FORM,
    ),
    Step("GET {realm}?scope=repository%3A{repository}%3Apull&service={service}", 401, "Basic :x"),
]

_containerd_expired = [
    # Without an `error`, it would use the same token again.
    Step("GET /v2/{repository}/manifests/{digest}", 401, "Bearer expired", headers=_ACCEPT, challenge={
        **PULL, "error": "invalid_token",
    }),
    _post_token(_PULL_FORM, "bob"),
    *_containerd_contents[1:],
]  # fmt: skip

# It compares scopes as text, so the narrow one of the first challenge is asked for too.
_PUSH_FORM: Final = "repository%3A{repository}%3Apull+repository%3A{repository}%3Apull%2Cpush"


def _containerd_upload(name: str) -> list[Step]:
    return [
        Step(f"HEAD /v2/{{repository}}/blobs/{{{name}_digest}}", 404, "Bearer token"),
        BEGIN,
        Step(f"PUT {{location}}?digest={{{name}_digest}}", 201, "Bearer token", name, OCTETS),
    ]


_containerd_push = [
    Step("HEAD /v2/{repository}/blobs/{layer_digest}", 401, challenge=PULL),
    _post_token(_PUSH_FORM, "alice"),
    Step("HEAD /v2/{repository}/blobs/{layer_digest}", 404, "Bearer token"),
    # One token for both repositories.
    replace(_post_token(f"{_PUSH_FORM}+repository%3A{{source}}%3Apull", "alice"), takes={"mount": "access_token"}),
    Step("POST /v2/{repository}/blobs/uploads/?mount={layer_digest}&from={source}", 201, "Bearer mount"),
    *_containerd_upload("config"),
    Step("HEAD /v2/{repository}/manifests/v1", 404, "Bearer token", headers=_ACCEPT),
    Step("PUT /v2/{repository}/manifests/v1", 201, "Bearer token", "manifest", _OCI_MANIFEST),
]  # fmt: skip


# CRI-O

_cri_o_pull = [
    PING,
    Step("GET {realm}?account=bob&scope=repository%3A{repository}%3Apull&service={service}", 200, "Basic bob",
         takes=TOKEN),
    Step("GET /v2/{repository}/manifests/v1", 200, "Bearer token", headers=_ACCEPT, answer={
        "Content-Type": OCI_TYPE,
    }),
    Step("GET /v2/{repository}/blobs/{config_digest}", 200, "Bearer token"),
    Step("GET /v2/{repository}/blobs/{layer_digest}", 200, "Bearer token"),
]  # fmt: skip


CONTAINERD: Final = {
    # name: the repository, and what is sent
    "containerd-pull-public-without-login": ("public/v1/example", _containerd_public),
    "containerd-pull-private": ("team/v1/example", [_RESOLVE, _post_token(_PULL_FORM, "bob"), *_containerd_contents]),
    "containerd-pull-private-without-login": ("team/v1/example", _containerd_anonymous),
    "containerd-pull-wrong-password": ("team/v1/example", _containerd_wrong),
    "containerd-pull-identity-token": ("team/v1/example", _containerd_identity_token),
    "containerd-pull-expired-token": ("team/v1/example", _containerd_expired),
    "containerd-push": ("team/containerd-push", _containerd_push),
    "kubelet-with-cri-o-and-secret": ("team/v1/example", _cri_o_pull),
}
