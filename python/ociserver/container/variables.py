"""distribution's variables (`REGISTRY_HTTP_ADDR` and so on), in three tables: understood, without effect, refused.

Names and meanings are those of https://distribution.github.io/distribution/about/configuration and of
`configuration/configuration.go` in distribution 2.8 and 3.1, where a variable is the path of a key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from ociserver.container import values

__all__ = ["IGNORED", "PREFIX", "REFUSED", "SECTIONS", "UNDERSTOOD", "is_of_kubernetes", "matching"]

PREFIX: Final = "REGISTRY_"

_LEVELS: Final = {"debug": "debug", "info": "info", "warn": "warning", "error": "error"}

UNDERSTOOD: Final[Mapping[str, Callable[[str], Any]]] = {
    "AUTH": partial(values.one_of, {"htpasswd": "htpasswd", "token": "token", "none": "none"}),
    "AUTH_HTPASSWD_PATH": values.text,
    "AUTH_HTPASSWD_REALM": values.text,
    "AUTH_TOKEN_AUTOREDIRECT": values.boolean,
    "AUTH_TOKEN_ISSUER": values.text,
    "AUTH_TOKEN_JWKS": values.text,
    "AUTH_TOKEN_REALM": values.text,
    "AUTH_TOKEN_ROOTCERTBUNDLE": values.text,
    "AUTH_TOKEN_SERVICE": values.text,
    "AUTH_TOKEN_SIGNINGALGORITHMS": values.listed,
    "CATALOG_MAXENTRIES": values.number,
    "HTTP_ADDR": values.address,
    "HTTP_DEBUG_ADDR": values.address,
    "HTTP_DEBUG_PROMETHEUS_ENABLED": values.boolean,
    "HTTP_DEBUG_PROMETHEUS_PATH": partial(values.one_of, {"/metrics": "/metrics"}),
    "HTTP_DRAINTIMEOUT": values.duration,
    "HTTP_H2C_ENABLED": values.boolean,
    "HTTP_HOST": values.text,
    "HTTP_NET": partial(values.one_of, {"tcp": "tcp"}),
    "HTTP_PREFIX": partial(values.one_of, {"/": "/"}),
    "HTTP_TLS_CERTIFICATE": values.text,
    "HTTP_TLS_CLIENTAUTH": partial(values.one_of, {"require-and-verify-client-cert": "required"}),
    "HTTP_TLS_CLIENTCAS": values.listed,
    "HTTP_TLS_CLIENTCAS_0": values.text,
    "HTTP_TLS_KEY": values.text,
    "HTTP_TLS_MINIMUMTLS": partial(values.one_of, dict.fromkeys(("tls1.0", "tls1.1", "tls1.2"), "tls1.2")),
    "LOGLEVEL": partial(values.one_of, _LEVELS),
    "LOG_ACCESSLOG_DISABLED": values.boolean,
    "LOG_FORMATTER": partial(values.one_of, {"text": "text", "json": "json"}),
    "LOG_LEVEL": partial(values.one_of, _LEVELS),
    "PROXY_PASSWORD": values.text,
    "PROXY_REMOTEURL": values.text,
    "PROXY_TTL": values.duration,
    "PROXY_USERNAME": values.text,
    "STORAGE": partial(values.one_of, {"filesystem": "filesystem", "inmemory": "inmemory"}),
    "STORAGE_DELETE_ENABLED": values.boolean,
    "STORAGE_FILESYSTEM_ROOTDIRECTORY": values.text,
    "STORAGE_MAINTENANCE_READONLY": values.enabled,
    "STORAGE_MAINTENANCE_READONLY_ENABLED": values.boolean,
    "STORAGE_MAINTENANCE_UPLOADPURGING_AGE": values.duration,
    "STORAGE_MAINTENANCE_UPLOADPURGING_DRYRUN": values.boolean,
    "STORAGE_MAINTENANCE_UPLOADPURGING_ENABLED": values.boolean,
    "TAGS_MAXTAGS": values.number,
    "VALIDATION_DISABLED": values.boolean,
}
"""Variables that have an effect, and how their values are read. `translation` says what they mean."""

IGNORED: Final[Mapping[str, str]] = {
    "COMPATIBILITY": "manifests of schema 1 are not accepted",
    "HEALTH_STORAGEDRIVER": "/readyz checks the store, as does `ociserver health`",
    "HTTP_HTTP2": "the server speaks HTTP/1.1",
    "HTTP_RELATIVEURLS": "locations are relative unless the client needs an absolute one",
    "HTTP_SECRET": "uploads are kept in the store, and need no common secret",
    "LOG_FIELDS": "the log has the same fields everywhere; name the container instead",
    "LOG_REPORTCALLER": "the log does not name places in the code",
    "REDIS": "the server has a cache of its own, and needs no Redis",
    "REPORTING": "the server reports to nobody",
    "STORAGE_CACHE": "the server has a cache of its own",
    "STORAGE_FILESYSTEM_MAXTHREADS": "the number of threads is bounded",
    "STORAGE_MAINTENANCE_UPLOADPURGING_INTERVAL": "collection runs every hour; OCISERVER_COLLECT_EVERY changes that",
    "STORAGE_REDIRECT": "a store in a folder redirects nobody",
    "STORAGE_TAG": "tags are listed from a database",
}
"""Variables, with all whose names continue them, that change nothing that clients notice, and why."""

REFUSED: Final[Mapping[str, str]] = {
    "AUTH_SILLY": "it accepts everybody; use AUTH_HTPASSWD, or [auth] of a configuration file",
    "AUTH_TOKEN_AUTOREDIRECTPATH": "tokens are fetched at REGISTRY_AUTH_TOKEN_REALM",
    "CONFIGURATION_PATH": "set OCISERVER_CONFIG to a file in the format of docs/config.md",
    "HEALTH": "there are no such checks; ask /healthz and /readyz, or run `ociserver health`",
    "HTTP_HEADERS": "let a proxy in front add headers",
    "HTTP_TLS_CIPHERSUITES": "TLS 1.2 and 1.3 are served with safe cipher suites; let a proxy in front choose others",
    "HTTP_TLS_CLIENTCAS": "put all authorities into one file, and name that in REGISTRY_HTTP_TLS_CLIENTCAS_0",
    "HTTP_TLS_LETSENCRYPT": "let a proxy in front, such as Caddy or Traefik, get the certificate",
    "LOG_HOOKS": "the log goes to stdout; let what collects it send messages",
    "MIDDLEWARE": "there is no middleware",
    "NOTIFICATIONS": "there are no notifications",
    "POLICY": "there is no policy of classes; limit what may be pushed by [auth] of a configuration file",
    "PROXY": "only REMOTEURL, USERNAME, PASSWORD and a TTL of 0 are understood; see `cache` in docs/config.md",
    "STORAGE": "only `filesystem` and `inmemory` are understood; see docs/config.md for other stores",
    "VALIDATION": "set OCISERVER_LAX_CHILD_REFERENCES=1 to accept images whose parts are missing",
}
"""Variables, with all whose names continue them, that would change what clients may do, and what to use instead."""

SECTIONS: Final = frozenset(
    {"AUTH", "CATALOG", "COMPATIBILITY", "CONFIGURATION", "HEALTH", "HTTP", "LOG", "LOGLEVEL", "MIDDLEWARE"}
    | {"NOTIFICATIONS", "POLICY", "PROXY", "REDIS", "REPORTING", "STORAGE", "TAGS", "VALIDATION"}
)
"""The first words of distribution's variables. Others, such as REGISTRY_USER of a CI system, are somebody else's."""

_OF_KUBERNETES: Final = re.compile(
    r"(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)


def is_of_kubernetes(name: str) -> bool:
    """Whether Kubernetes sets this variable in each pod, because a service has a name such as `registry`.

    Args:
        name: without `REGISTRY_`.
    """
    return bool(_OF_KUBERNETES.fullmatch(name))


def matching(name: str, table: Mapping[str, str]) -> str | None:
    """The text of the longest entry that is the name, or that it continues."""
    parts = name.split("_")
    for count in range(len(parts), 0, -1):
        text = table.get("_".join(parts[:count]))
        if text is not None:
            return text
    return None
