"""The table `objects` of a store: the bucket for its large contents."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from pydantic import ConfigDict

from ociserver.config.auth_values import Name
from ociserver.config.values import BucketUrl, Count, Duration, FilledText, Flag, Part, Size, Text, Url
from ociserver.store.objects.settings import LEAST_PART_SIZE
from ociserver.store.objects.storage import ObjectStorage
from ociserver.units import format_size, parse_duration, parse_size

__all__ = ["Objects"]

_DURATIONS: Final = {"url_lifetime": "url_lifetime_s", "delete_after": "delete_after_s", "retry": "retry_s"}
_SIZES: Final = ("least_redirected", "part_size")
_OPTIONS: Final = ("endpoint", "region", "access_key_id", "secret_access_key")


@dataclass(frozen=True, kw_only=True)
class Objects(Part):
    """A bucket for the large contents of a store. Nothing else may write below its prefix.

    Without keys, credentials come from the environment (such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), or from
    the role of the machine or pod.
    """

    __pydantic_config__: ClassVar[ConfigDict] = Part.__pydantic_config__ | ConfigDict(
        json_schema_extra={
            "dependentRequired": {
                "access-key-id": ["secret-access-key"],
                "secret-access-key": ["access-key-id"],
            }
        }
    )

    url: BucketUrl
    """`s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`."""
    endpoint: Url | None = None
    """The URL of the object storage, such as "https://s3.example". By default that of the provider."""
    region: FilledText | None = None
    """The region of the bucket, such as "eu-central-1"."""
    access_key_id: FilledText | None = field(default=None, repr=False)
    """The key id of S3. Requires `secret-access-key`."""
    secret_access_key: FilledText | None = field(default=None, repr=False)
    """The secret of `access-key-id`. Take it from the environment or from a file."""
    options: dict[Name, Text] | None = field(default=None, repr=False)
    """Further options of the client for the storage, such as those of Google and Azure for credentials, or
    "virtual-hosted-style-request"."""
    redirect: Flag | None = None
    """Redirect clients that GET a blob to a signed URL of the bucket. Then `redirect-pulls` of `[options]` is true,
    unless it is set. By default blobs pass through the server."""
    public_endpoint: Url | None = None
    """The URL of the object storage for clients, if they reach it by another one than `endpoint`."""
    least_redirected: Size | None = None
    """Size of the smallest blob that is redirected. By default 1MiB."""
    url_lifetime: Duration | None = None
    """How long a signed URL is valid. By default 20 min."""
    delete_after: Duration | None = None
    """How long an object is kept when nothing needs it any more. It must be longer than `url-lifetime`. By default
    30 min."""
    part_size: Size | None = None
    """Size of the parts in which a blob is sent: 5MiB or more. A blob has 10,000 parts at most. Clients are told to
    send chunks of this size, but of 64MiB at most. By default 8MiB."""
    parts_in_flight: Count | None = None
    """Maximum number of parts of one upload that are sent at the same time. By default 3."""
    retry: Duration | None = None
    """For how long a request to the bucket is tried again. By default 20 s."""

    def __post_init__(self) -> None:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("`access-key-id` and `secret-access-key` belong together: set both, or neither")
        if self.part_size is not None and parse_size(self.part_size) < LEAST_PART_SIZE:
            raise ValueError(f"`part-size` must be {format_size(LEAST_PART_SIZE)} or more")
        # Its mistakes are ours.
        self.built()

    def built(self) -> ObjectStorage:
        """The bucket that this table describes."""
        options = {name.replace("-", "_"): value for name, value in (self.options or {}).items()}
        options |= {name: value for name in _OPTIONS if (value := getattr(self, name)) is not None}
        settings: dict[str, Any] = {
            to: parse_duration(value) for name, to in _DURATIONS.items() if (value := getattr(self, name)) is not None
        }
        settings |= {name: parse_size(value) for name in _SIZES if (value := getattr(self, name)) is not None}
        if self.parts_in_flight is not None:
            settings["parts_in_flight"] = self.parts_in_flight
        return ObjectStorage(
            url=self.url,
            options=options,
            redirect=bool(self.redirect),
            public_endpoint=self.public_endpoint,
            **settings,
        )
