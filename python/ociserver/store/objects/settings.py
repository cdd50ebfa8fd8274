"""Which bucket, and how it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["LEAST_PART_SIZE", "MOST_CHUNK_SIZE", "ObjectSettings"]

PART_SIZE: Final = 8 * 1024 * 1024
"""Bytes of a part. S3 takes 10,000 parts of at least 5 MiB, so a blob may have 78 GiB."""

LEAST_PART_SIZE: Final = 5 * 1024 * 1024
"""Bytes of the smallest part that S3 takes, except for the last part."""

MOST_CHUNK_SIZE: Final = 64 * 1024 * 1024
"""Bytes of the largest chunk that clients are told to send, whatever the size of a part: they hold it in memory."""

PARTS_IN_FLIGHT: Final = 3
"""Parts of one upload that may wait for the bucket: with one more, which fills up, they bound its memory."""

URL_LIFETIME_S: Final = 1200
"""Seconds for which a signed URL is valid: enough to begin a download; a download that has begun may go on."""

DELETE_AFTER_S: Final = 1800
"""Seconds after which an object that nothing needs is deleted: more than a client can use a URL, or a request write."""

LEAST_REDIRECTED: Final = 1024 * 1024
"""Bytes from which a blob is worth a redirect: below, a second connection takes longer than the bytes."""

RETRY_S: Final = 20.0
"""Seconds for which a request to the bucket is tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectSettings:
    """A bucket for the large contents of a store.

    Credentials come from the environment (`AWS_ACCESS_KEY_ID` and so on), from the role of the machine or pod, or from
    `options`.

    Args:
        url: `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`. Nothing else may write below the
            prefix.
        options: of the crate object_store, such as `endpoint`, `region` and `access_key_id`.
        public_endpoint: the endpoint that clients reach, for signed URLs. None: the same as that of the registry.
        redirect: whether a client that GETs a blob gets a signed URL of the bucket. The handler needs
            `Options.redirect_pulls` too.
        least_redirected: bytes of the smallest blob that is redirected.
        url_lifetime_s: seconds for which a signed URL is valid.
        delete_after_s: seconds after which an object that nothing needs is deleted.
        part_size: bytes of a part of an upload: at least 5 MiB for S3. Clients are told to send such chunks, but
            of `MOST_CHUNK_SIZE` at most.
        parts_in_flight: parts of one upload that may be sent at the same time.
        retry_s: seconds for which a request to the bucket is tried again.

    Raises:
        ValueError: a client could have a URL for longer than its object exists; or a limit is not positive.
    """

    url: str
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    public_endpoint: str | None = None
    redirect: bool = False
    least_redirected: int = LEAST_REDIRECTED
    url_lifetime_s: float = URL_LIFETIME_S
    delete_after_s: float = DELETE_AFTER_S
    part_size: int = PART_SIZE
    parts_in_flight: int = PARTS_IN_FLIGHT
    retry_s: float = RETRY_S

    def __post_init__(self) -> None:
        if self.part_size < 1 or self.parts_in_flight < 1:
            raise ValueError("the size of a part and the number of parts in flight must be at least 1")
        if self.delete_after_s <= self.url_lifetime_s:
            raise ValueError(
                f"objects must exist for longer after their deletion ({self.delete_after_s:g} s) than a signed URL is "
                f"valid ({self.url_lifetime_s:g} s): otherwise a download could fail that was redirected"
            )
