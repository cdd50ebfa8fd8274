"""The parts of a store that are not in its folder, as settings from which a process makes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ociserver.store.objects.storage import ObjectStorage
from ociserver.store.transaction import Metadata

__all__ = ["Database", "External"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A database of PostgreSQL.

    Args:
        url: `postgresql://user@host/database`.
        password: None: the one in the URL, in PGPASSWORD or in the file of passwords of libpq.
        max_connections: connections of one process; None: the default.
        is_pooled: whether a pooler in transaction mode is in front of it.
        cache_manifests_s: seconds for which a process serves a manifest without another look; None: the default.
    """

    url: str = field(repr=False)
    password: str | None = field(default=None, repr=False)
    max_connections: int | None = None
    is_pooled: bool = False
    cache_manifests_s: float | None = None

    def made(self) -> Metadata:
        """The database, not yet open.

        Raises:
            ImportError: the extra `postgres` is not installed.
        """
        from ociserver.store.postgres import PostgreSQL  # may not be installed

        names = ("max_connections", "cache_manifests_s")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        return PostgreSQL(self.url, password=self.password, is_pooled=self.is_pooled, **given)

    @property
    def name(self) -> str:
        """The URL without user, password and options, which may be secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class External:
    """What a store has outside of its folder.

    Args:
        database: has its metadata. Then there is no folder, and `objects` are needed.
        objects: keep its large contents.
    """

    database: Database | None = None
    objects: ObjectStorage

    def made(self) -> dict[str, Any]:
        """The arguments of a `Store` for them.

        Raises:
            ValueError: an extra is not installed. The message says how to install it.
        """
        made: dict[str, Any] = {"objects": self.objects}
        if self.database is not None:
            try:
                made["database"] = self.database.made()
            except ImportError as error:
                raise ValueError(_install("postgres", error)) from None
        try:
            from ociserver.store.objects import blobs  # noqa: F401
        except ImportError as error:
            raise ValueError(_install("objects", error)) from None
        return made

    @property
    def name(self) -> str:
        """Where they are, for people, without secrets."""
        bucket = self.objects.url
        return bucket if self.database is None else f"{self.database.name} and {bucket}"

    @property
    def identity(self) -> tuple[str | None, str]:
        """Equal for two stores that have the same place."""
        return None if self.database is None else self.database.url, self.objects.url


def _install(extra: str, error: ImportError) -> str:
    return f"this store needs packages that are not installed ({error}). Install them: pip install 'ociserver[{extra}]'"
