"""Profiles of hosted registries: Docker Hub, GitHub's, GitLab's and Quay."""

from __future__ import annotations

from typing import Final

from ociserver.options import Options
from ociserver.testing.profiles.profile import Difference, Pages, Profile, RateLimit, Refusal, Tokens

__all__ = ["DOCKERHUB", "GHCR", "GITLAB", "QUAY", "UNSUPPORTED"]

UNSUPPORTED: Final = Refusal("UNSUPPORTED", "The operation is unsupported.", 405)
"""The error of distribution, and of the registries that are built of it."""

_DELETIONS: Final = {"delete_manifest": UNSUPPORTED, "delete_tag": UNSUPPORTED, "delete_blob": UNSUPPORTED}

DOCKERHUB: Final = Profile(
    name="dockerhub",
    title="Docker Hub",
    differences=(
        Difference(
            "100 pulls in 6 hours without an account, reported in ratelimit headers; then 429. HEAD is no pull.",
            "https://docs.docker.com/docker-hub/usage/pulls/",
        ),
        Difference("Nothing can be deleted.", "https://github.com/docker/hub-feedback/issues/2360"),
        Difference("There is no referrers API.", "https://github.com/docker/roadmap/issues/724"),
        Difference(
            "The token endpoint is /token, and the service registry.docker.io.",
            "https://docs.docker.com/docker-hub/usage/pulls/",
        ),
    ),
    options=Options(disable_referrers_api=True),
    refusals=_DELETIONS,
    rate_limit=RateLimit(
        100,
        6 * 3600,
        "You have reached your pull rate limit. You may increase the limit by authenticating and upgrading: "
        "https://www.docker.com/increase-rate-limits",
    ),
    sign_in=Tokens("/token", "registry.docker.io"),
)

GHCR: Final = Profile(
    name="ghcr",
    title="GitHub Container Registry",
    differences=(
        Difference("Nothing can be deleted.", "https://github.com/containers/skopeo/issues/1880"),
        Difference("There is no referrers API.", "https://github.com/actions/attest-build-provenance/issues/91"),
        Difference(
            "Tags are listed in the order in which they were pushed.",
            "https://github.com/renovatebot/renovate/pull/36103",
        ),
        Difference(
            "The token endpoint is /token, and the service ghcr.io.",
            "https://github.com/sigstore/cosign/issues/3434",
        ),
    ),
    options=Options(disable_referrers_api=True),
    refusals=_DELETIONS,
    lists_tags_as_pushed=True,
    sign_in=Tokens("/token", "ghcr.io"),
)

GITLAB: Final = Profile(
    name="gitlab",
    title="GitLab Container Registry",
    differences=(
        Difference(
            "The list of repositories is refused, also to users.",
            "https://github.com/Joxit/docker-registry-ui/issues/443",
        ),
        Difference(
            "The token endpoint is /jwt/auth, and the service container_registry.",
            "https://github.com/deitch/docker_registry2/issues/14",
        ),
    ),
    refusals={"repositories": Refusal("UNAUTHORIZED", "authentication required", 401)},
    sign_in=Tokens("/jwt/auth", "container_registry"),
)

_QUAY_ERRORS: Final = "https://github.com/quay/quay/blob/master/endpoints/v2/errors.py"

QUAY: Final = Profile(
    name="quay",
    title="Quay",
    differences=(
        Difference(
            "A page of tags has 100 names, also if a client asks for none or for more.",
            "https://github.com/quay/quay/blob/master/endpoints/v2/__init__.py",
        ),
        Difference(
            "A blob cannot be deleted.",
            "https://github.com/quay/quay/blob/master/endpoints/v2/blob.py",
        ),
        Difference("Each error has a detail. Some messages differ.", _QUAY_ERRORS),
        Difference(
            "The token endpoint is /v2/auth.", "https://github.com/quay/quay/blob/master/endpoints/v2/v2auth.py"
        ),
    ),
    refusals={"delete_blob": UNSUPPORTED},
    messages={
        "MANIFEST_UNKNOWN": "manifest unknown",
        "UNAUTHORIZED": "access to the requested resource is not authorized",
    },
    has_detail=True,
    pages=Pages(100, 100),
    sign_in=Tokens("/v2/auth"),
)
