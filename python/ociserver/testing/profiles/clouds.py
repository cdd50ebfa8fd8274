"""Profiles of the registries of clouds: Amazon ECR, and Google's Artifact Registry and Container Registry."""

from __future__ import annotations

from typing import Final

from ociserver.options import Options
from ociserver.testing.profiles.profile import BasicOnly, Difference, Profile, Refusal, Tokens

__all__ = ["ECR", "GCR"]

_ACCOUNT: Final = "123456789012"
"""The number of accounts in AWS' own examples."""

ECR: Final = Profile(
    name="ecr",
    title="Amazon ECR",
    differences=(
        Difference(
            "Clients send the user name AWS and a password with each request; there is no token endpoint.",
            "https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html",
        ),
        Difference(
            "A push to a repository that nobody has created is NAME_UNKNOWN.",
            "https://github.com/plexsystems/sinker/issues/55",
        ),
        Difference(
            "A blob is mounted only if the account has switched that on; otherwise an upload begins.",
            "https://docs.aws.amazon.com/AmazonECR/latest/userguide/blob-mounting.html",
        ),
        Difference(
            "A page of more than 1,000 tags is refused.",
            "https://pkg.go.dev/cuelabs.dev/go/oci/ociregistry/ociserver#Options",
        ),
    ),
    options=Options(max_list_page_size=1000),
    mounts=False,
    needs_repository=Refusal(
        "NAME_UNKNOWN",
        f"The repository with name '{{repository}}' does not exist in the registry with id '{_ACCOUNT}'",
        404,
    ),
    sign_in=BasicOnly("ecr.amazonaws.com"),
    user="AWS",
)

GCR: Final = Profile(
    name="gcr",
    title="Google Artifact Registry and Container Registry",
    differences=(
        Difference(
            "A manifest cannot be deleted while a tag points at it. The tag can be deleted.",
            "https://github.com/genuinetools/reg/issues/136",
        ),
        Difference(
            "The user name that goes with an access token is oauth2accesstoken.",
            "https://cloud.google.com/artifact-registry/docs/docker/authentication#token",
        ),
    ),
    refuses_tagged=Refusal("GOOGLE_MANIFEST_DANGLING_TAG", "Manifest is still referenced by tag: {tag}", 400),
    sign_in=Tokens("/v2/token"),
    user="oauth2accesstoken",
)
