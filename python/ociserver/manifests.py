"""What registries check of a manifest that is pushed, whatever they keep it in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ociserver._core import ManifestInfo, Reference, digest_of, is_digest, is_tag, read_manifest
from ociserver.errors import OCIError
from ociserver.interface import Descriptor

__all__ = ["check_tags", "missing_reference", "pushed_digest", "read_pushed", "refused_retype"]

_KINDS: Final = {"blob": "blob", "manifest": "manifest", "unknown": "blob or manifest"}


def pushed_digest(content: bytes, wanted: str | None) -> str:
    """The digest to keep a manifest under: `wanted` if the content has it, else its sha256.

    Raises:
        OCIError: DIGEST_INVALID if `wanted` is malformed, or of another content.
    """
    if wanted is None:
        return digest_of(content)
    if not is_digest(wanted):
        raise OCIError("DIGEST_INVALID", "badly formed digest")
    found = digest_of(content, wanted.partition(":")[0])
    if found != wanted:
        raise OCIError("DIGEST_INVALID", detail={"digest": wanted, "content": found})
    return found


def check_tags(tags: Sequence[str]) -> None:
    """Raises MANIFEST_INVALID if one is not a tag."""
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
    found = pushed_digest(content, digest)
    info = read_manifest(content, media_type, lax=lax)
    return Descriptor(info.media_type, found, len(content)), info


def missing_reference(reference: Reference) -> OCIError:
    """What a strict registry answers where something that a manifest references is not in the repository."""
    return OCIError(
        "MANIFEST_BLOB_UNKNOWN",
        f"invalid manifest: {_KINDS[reference.kind]} for {reference.field} not found",
        detail={"digest": reference.digest},
    )


def refused_retype(recorded: str, pushed: str, *, is_immutable: bool) -> OCIError:
    """What a registry answers to a push of a manifest that it keeps under another media type.

    Args:
        recorded: media type that the registry has.
        pushed: media type of the push.
        is_immutable: whether tags are immutable and one keeps the manifest; then it is DENIED and not MANIFEST_INVALID.
    """
    if is_immutable:
        return OCIError("DENIED", f"mismatched media type: this manifest is tagged, and stays {recorded}")
    return OCIError(
        "MANIFEST_INVALID", f"this manifest is stored as {recorded}, and cannot become {pushed}: delete it first"
    )
