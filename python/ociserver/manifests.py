"""Checks of what is pushed, for all registries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ociserver._core import ManifestInfo, Reference, is_repository, is_tag, read_manifest
from ociserver.digests import content_digest
from ociserver.errors import OCIError
from ociserver.interface import Descriptor

__all__ = ["check_repository", "check_tags", "missing_reference", "read_pushed", "refused_retype"]

_KINDS: Final = {"blob": "blob", "manifest": "manifest", "unknown": "blob or manifest"}


def check_repository(repository: str) -> None:
    """Raises NAME_INVALID if this is not a valid name of a repository."""
    if not is_repository(repository):
        raise OCIError("NAME_INVALID")


def check_tags(tags: Sequence[str]) -> None:
    """Raises MANIFEST_INVALID if one of them is not a valid tag."""
    for tag in tags:
        if not is_tag(tag):
            raise OCIError("MANIFEST_INVALID", f"{tag!r} is not a tag")


def read_pushed(
    content: bytes, media_type: str, *, digest: str | None, tags: Sequence[str], lax: bool
) -> tuple[Descriptor, ManifestInfo]:
    """Check the arguments of `Writer.push_manifest`, and read the manifest.

    Raises:
        OCIError: DIGEST_INVALID, MANIFEST_INVALID.
    """
    check_tags(tags)
    found = content_digest(content, digest)
    info = read_manifest(content, media_type, lax=lax)
    return Descriptor(info.media_type, found, len(content)), info


def missing_reference(reference: Reference) -> OCIError:
    """The error of a strict registry, if a reference of a manifest is not in the repository."""
    return OCIError(
        "MANIFEST_BLOB_UNKNOWN",
        f"invalid manifest: {_KINDS[reference.kind]} for {reference.field} not found",
        detail={"digest": reference.digest},
    )


def refused_move(tag: str, *, is_immutable: bool) -> OCIError:
    """The error for a push that would move a tag which must stay.

    Args:
        tag: the tag, which points at another manifest.
        is_immutable: whether all tags of the registry are immutable. Otherwise it is a tag of `create_only`.
    """
    why = "tags are immutable in this registry" if is_immutable else "the tag exists, and this push may only create it"
    return OCIError("DENIED", f"cannot overwrite tag {tag}: {why}")


def refused_retype(recorded: str, pushed: str, *, is_immutable: bool) -> OCIError:
    """The error for a push of a manifest that the registry has with another media type.

    Args:
        recorded: the media type that the registry has.
        pushed: the media type of the push.
        is_immutable: whether tags are immutable and a tag keeps the manifest. Then the code is DENIED instead of
            MANIFEST_INVALID.
    """
    if is_immutable:
        return OCIError("DENIED", f"mismatched media type: this manifest is tagged, and stays {recorded}")
    return OCIError(
        "MANIFEST_INVALID", f"this manifest is stored as {recorded}, and cannot become {pushed}: delete it first"
    )
