"""What exists of what the push of a manifest names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from ociserver._core import ManifestInfo, Reference
from ociserver.manifests import missing_reference
from ociserver.store.rereading import MAX_DIGESTS
from ociserver.store.transaction import MAX_TEXTS, Row, Transaction
from ociserver.store.writes import ensure_repository

__all__ = ["Existing", "check_references", "look", "required_references"]


@dataclass(slots=True)
class Existing:
    """What exists of what a push names.

    Args:
        repo_id: the repository, which is created if it does not exist.
        is_listed: whether it is in the catalog.
        manifest_id: the manifest that is pushed; None if it is new.
        media_type: its type.
        tagged: the manifests of the tags that exist.
        blobs: the digests that the repository has as blobs, of those that were looked for.
        manifests: the digests that it has as manifests, of those that were looked for.
    """

    repo_id: int
    is_listed: bool = False
    manifest_id: int | None = None
    media_type: str = ""
    tagged: dict[str, int] = field(default_factory=dict)
    blobs: set[str] = field(default_factory=set)
    manifests: set[str] = field(default_factory=set)


def required_references(info: ManifestInfo) -> list[Reference]:
    """What a manifest needs in its repository, each once."""
    required: dict[tuple[str, str], Reference] = {}
    for one in info.references:
        if one.required:
            required.setdefault((one.digest, one.kind), one)
    return list(required.values())


def look(repository: str, digest: str, tags: Sequence[str], required: Sequence[Reference]) -> Transaction[Existing]:
    """Find out what exists, in one statement unless the manifest needs more than `MAX_DIGESTS`.

    The repository, and what the manifest needs, stay until the end of the transaction.
    """
    blobs, manifests = _digests_of(required[:MAX_DIGESTS])
    rows = yield (
        _text(len(tags), len(blobs), len(manifests)),
        (digest, *tags, repository, *_values(repository, blobs), *_values(repository, manifests)),
    )
    known = [row for row in rows if row[0] is not None]
    if not known:
        return Existing((yield from ensure_repository(repository)))
    repo_id, listed, manifest_id, media_type = known[0][:4]
    found = Existing(repo_id, bool(listed), manifest_id, media_type or "")
    found.tagged = {row[4]: row[5] for row in known if row[4]}
    _note(found, rows)
    for start in range(MAX_DIGESTS, len(required), MAX_DIGESTS):
        blobs, manifests = _digests_of(required[start : start + MAX_DIGESTS])
        for statement, digests in ((_BLOBS, blobs), (_MANIFESTS, manifests)):
            if digests:
                rows = yield _filled(statement, len(digests)), _values(repository, digests)
                _note(found, rows)
    return found


def check_references(found: Existing, required: Sequence[Reference]) -> None:
    """Raise OCIError if something is missing that a manifest needs."""
    for one in required:
        is_blob = one.kind != "manifest" and one.digest in found.blobs
        if not is_blob and (one.kind == "blob" or one.digest not in found.manifests):
            raise missing_reference(one)


def _digests_of(references: Sequence[Reference]) -> tuple[list[str], list[str]]:
    """The digests to look for as blobs, and those to look for as manifests. Both are in order, for the locks."""
    blobs = sorted(one.digest for one in references if one.kind != "manifest")
    manifests = sorted(one.digest for one in references if one.kind != "blob")
    return blobs, manifests


def _values(repository: str, digests: Sequence[str]) -> tuple[str, ...]:
    return (repository, *digests) if digests else ()


def _note(found: Existing, rows: Sequence[Row]) -> None:
    for row in rows:
        if row[6]:
            found.blobs.add(row[6])
        elif row[7]:
            found.manifests.add(row[7])


# A union cannot lock rows, but its parts can. A column that is NULL in a part has the type of the same one in another.
_REPOSITORY: Final = (
    "SELECT * FROM (SELECT r.id, r.listed, m.id AS manifest_id, m.media_type, t.name, t.manifest_id AS tagged,"
    " CAST(NULL AS TEXT) AS blob, CAST(NULL AS TEXT) AS manifest FROM repositories r"
    " LEFT JOIN manifests m ON m.repository_id = r.id AND m.digest = ?"
    " LEFT JOIN tags t ON t.repository_id = r.id AND t.name IN ({})"
    " WHERE r.name = ? {{FOR KEY SHARE OF r}}) AS known"
)
_BLOBS: Final = (
    "SELECT NULL, NULL, NULL, NULL, NULL, NULL, digest, NULL FROM (SELECT c.digest FROM repositories r"
    " JOIN links l ON l.repository_id = r.id JOIN copies c ON c.id = l.copy_id"
    " WHERE r.name = ? AND c.digest IN ({}) AND c.bad = 0 {{FOR KEY SHARE OF l}}) AS blobs"
)
_MANIFESTS: Final = (
    "SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, digest FROM (SELECT m.digest FROM repositories r"
    " JOIN manifests m ON m.repository_id = r.id"
    " WHERE r.name = ? AND m.digest IN ({}) {{FOR KEY SHARE OF m}}) AS children"
)


@lru_cache(MAX_TEXTS)
def _text(tags: int, blobs: int, manifests: int) -> str:
    """The statement for so many of each. The same text is the same object, whose hash is calculated once."""
    parts = [_filled(_REPOSITORY, tags)]
    parts += [_filled(part, count) for part, count in ((_BLOBS, blobs), (_MANIFESTS, manifests)) if count]
    return " UNION ALL ".join(parts)


@lru_cache(MAX_TEXTS)
def _filled(statement: str, count: int) -> str:
    return statement.format(", ".join("?" * count) or "NULL")
