"""Profiles: registries that behave as ECR, Docker Hub, GHCR and others do. docs/testing.md lists how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ociserver.testing.profiles.clouds import ECR, GCR
from ociserver.testing.profiles.hosted import DOCKERHUB, GHCR, GITLAB, QUAY
from ociserver.testing.profiles.installed import DISTRIBUTION2, HARBOR
from ociserver.testing.profiles.profile import (
    BasicOnly,
    Difference,
    Pages,
    Profile,
    RateLimit,
    Refusal,
    Tokens,
)

__all__ = [
    "PROFILES",
    "BasicOnly",
    "Difference",
    "Pages",
    "Profile",
    "RateLimit",
    "Refusal",
    "Tokens",
    "profile_named",
]

PROFILES: Final[Mapping[str, Profile]] = {
    profile.name: profile for profile in (DISTRIBUTION2, DOCKERHUB, ECR, GCR, GHCR, GITLAB, HARBOR, QUAY)
}
"""The profiles by name."""


def profile_named(name: str) -> Profile:
    """The profile of this name.

    Raises:
        ValueError: there is none.
    """
    try:
        return PROFILES[name]
    except KeyError:
        raise ValueError(f"there is no profile {name!r}: the profiles are {', '.join(PROFILES)}") from None
