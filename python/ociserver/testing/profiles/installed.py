"""Profiles of registries that people run themselves: distribution 2.8 and Harbor."""

from __future__ import annotations

from typing import Final

from ociserver.options import Options
from ociserver.testing.profiles.hosted import UNSUPPORTED
from ociserver.testing.profiles.profile import Difference, Profile, Refusal, Tokens

__all__ = ["DISTRIBUTION2", "HARBOR"]

_DISTRIBUTION: Final = "https://github.com/distribution/distribution/blob/v2.8.3"

DISTRIBUTION2: Final = Profile(
    name="distribution2",
    title="distribution 2.8 (the image registry:2), as it is by default",
    differences=(
        Difference("Nothing can be deleted.", f"{_DISTRIBUTION}/docs/configuration.md#delete"),
        Difference("There is no referrers API.", f"{_DISTRIBUTION}/registry/api/v2/routes.go"),
        Difference("Lists of tags are complete: n and last are ignored.", f"{_DISTRIBUTION}/registry/handlers/tags.go"),
        Difference("Some messages of errors differ.", f"{_DISTRIBUTION}/registry/api/v2/errors.go"),
    ),
    options=Options(disable_referrers_api=True, ignore_pagination=True),
    refusals={"delete_manifest": UNSUPPORTED, "delete_tag": UNSUPPORTED, "delete_blob": UNSUPPORTED},
    messages={"MANIFEST_UNKNOWN": "manifest unknown"},
    plain_not_found=True,
)

HARBOR: Final = Profile(
    name="harbor",
    title="Harbor",
    differences=(
        Difference(
            "A tag cannot be deleted by its name; a manifest by digest can.",
            "https://github.com/goharbor/harbor/blob/main/src/server/registry/manifest.go",
        ),
        Difference(
            "The list of repositories is for administrators only.",
            "https://github.com/goharbor/harbor/issues/13671",
        ),
        Difference(
            "The token endpoint is /service/token, and the service harbor-registry.",
            "https://github.com/goharbor/harbor/issues/17834",
        ),
    ),
    refusals={
        "delete_tag": Refusal("UNSUPPORTED", "unsupported digest {tag}: invalid checksum digest format", 400),
        "repositories": Refusal("UNAUTHORIZED", "unauthorized to list catalog: unauthorized to list catalog", 401),
    },
    sign_in=Tokens("/service/token", "harbor-registry"),
)
