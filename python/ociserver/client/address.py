"""The URLs of one registry, and checks of the names that become part of them."""

from __future__ import annotations

from typing import Final

from yarl import URL

from ociserver._core import is_repository, is_tag
from ociserver.digests import check_digest
from ociserver.errors import OCIError
from ociserver.urls import parse_registry_url

__all__ = ["Address", "check_names", "scope_of"]

_HUB: Final = frozenset({"docker.io", "index.docker.io"})
"""Names of Docker Hub. Its registry has another host name."""


class Address:
    """The URL of a registry, and the URLs below it.

    Raises:
        ValueError: the URL is not that of a registry. The message does not repeat it.
    """

    def __init__(self, url: str) -> None:
        parse_registry_url(url)
        try:
            root = URL(url)
            if root.host in _HUB:
                root = root.with_host("registry-1.docker.io")
            # `/v2/` is appended to this.
            self.root = URL(str(root).rstrip("/"), encoded=True)
        except ValueError:
            # The library's message may repeat the URL.
            raise ValueError("the URL cannot be used: its host name is not valid") from None

    @property
    def origin(self) -> URL:
        """Scheme, host and port."""
        return self.root.origin()

    @property
    def host(self) -> str:
        """`host` or `host:port`, without the scheme's default port. Credentials are stored under this name."""
        return str(self.origin).partition("//")[2]

    def url(self, path: str) -> URL:
        """The URL of a path that begins with `/v2/`."""
        return URL(f"{self.root}{path}", encoded=True)

    def blob(self, repository: str, digest: str) -> URL:
        """The URL of a blob."""
        return self.url(f"/v2/{repository}/blobs/{digest}")


def check_names(repository: str, *, digest: str | None = None, tag: str | None = None) -> None:
    """Check the names that become part of a URL against the grammar of the spec.

    Raises:
        OCIError: NAME_INVALID, DIGEST_INVALID, or MANIFEST_UNKNOWN for a tag that is not valid.
    """
    if not is_repository(repository):
        raise OCIError("NAME_INVALID")
    if digest is not None:
        check_digest(digest)
    if tag is not None and not is_tag(tag):
        raise OCIError("MANIFEST_UNKNOWN", f"{tag!r} is not a tag")


def scope_of(repository: str, actions: str) -> str:
    """A scope of Docker's token protocol."""
    return f"repository:{repository}:{actions}"
