"""What the flags of `ociserver serve` and the keys of `registry.toml` share: choices, help texts, names.

`ociserver.cli` and `ociserver.config` both import this module, so that neither depends on the other. It imports nothing
that takes long: a server without a configuration file does not load the library that checks such files.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Final, Literal

from ociserver.options import Options

__all__ = [
    "EXAMPLE_IMAGE",
    "HELP",
    "LOG_FORMATS",
    "LOG_LEVELS",
    "PROFILES",
    "TOKEN_KEY_VARIABLE",
    "UPLOAD_KEY_VARIABLE",
    "LogFormat",
    "LogLevel",
    "help_of_options",
]

LogLevel = Literal["debug", "info", "warning", "error"]
LOG_LEVELS: Final[tuple[LogLevel, ...]] = ("debug", "info", "warning", "error")

LogFormat = Literal["text", "json"]
LOG_FORMATS: Final[tuple[LogFormat, ...]] = ("text", "json")

PROFILES: Final = ("distribution2", "dockerhub", "ecr", "gcr", "ghcr", "gitlab", "harbor", "quay")
"""The names of `ociserver.testing.profiles`, which a server without a profile does not import."""

EXAMPLE_IMAGE: Final = "hello-world"
"""The smallest image that everybody can pull: from Docker Hub, where its repository is `library/hello-world`."""

UPLOAD_KEY_VARIABLE: Final = "_OCISERVER_UPLOAD_KEY"
"""Environment variable with the key, as hexadecimal digits, with which all processes of one server sign the ids of
uploads to remote registries, so that each process can continue the uploads of the others. Stores do not need it."""

TOKEN_KEY_VARIABLE: Final = "_OCISERVER_TOKEN_KEY"  # noqa: S105  (a name)
"""Environment variable with the key of tokens of a server that has neither keys in its configuration nor a folder, so
that its processes and the handlers of its reloads accept the tokens of each other."""

HELP: Final[Mapping[str, str]] = {
    # Where to listen.
    "host": "Address or host name to listen on. localhost is 127.0.0.1 and ::1, for clients on this machine; 0.0.0.0 "
    "is every IPv4 address of this machine, :: every address.",
    "port": "TCP port; 0 chooses a free one.",
    "tls_cert": "Certificate chain (PEM), to serve HTTPS instead of HTTP. Requires --tls-key.",
    "tls_key": "Private key of the certificate (PEM, not encrypted).",
    "tls_client_ca": "Certificates (PEM) of the authorities (CAs) that sign the certificates of clients. A client "
    "without such a certificate gets no connection. Requires --tls-cert.",
    # The proxies in front.
    "trusted_proxies": "Addresses and networks of proxies in front of this server, such as 10.0.0.0/8. They say "
    "which address a client has, and which scheme and host it has asked. No other client is believed.",
    "proxy_headers": "The headers that these proxies set. x-forwarded: X-Forwarded-For, -Proto and -Host. forwarded: "
    "Forwarded (RFC 7239).",
    # What a store does.
    "data": "Folder of the store. It is created if it does not exist; a folder that contains anything else is refused.",
    "durability": "How much of what was acknowledged a power cut may destroy. full: nothing. normal: the last moments. "
    "off: anything. If only the process is killed, nothing is lost with any of them.",
    "group_readable": "Let the group of the folder read the files that the server creates (modes 0750 and 0640), for "
    "example for a backup by another user. Without this flag only the user that serves can (0700 and 0600). Existing "
    "files keep their modes.",
    "memory_limit": "Maximum memory of a registry in memory: 512MiB, 2GiB, or a share of the memory of this machine "
    "or container. A push that would exceed it is refused with 507.",
    "immutable_tags": "Refuse to move or delete a tag, and to delete what a tag refers to, directly or through an "
    "index, with 403 DENIED.",
    "lax_child_references": "Accept manifests whose blobs or child manifests are not in the repository, instead of "
    "refusing them with MANIFEST_BLOB_UNKNOWN.",
    # Limits of the server.
    "workers": "Number of processes, which share the folder. By default only stores in folders have more than one, "
    "because a registry in memory cannot, and each process has its own connections to a database.",
    "max_connections": "Maximum number of open connections of each process, idle ones included. Further clients wait "
    "until one closes.",
    "graceful_timeout": "How long requests may continue after SIGINT or SIGTERM before they are cut off.",
    "shutdown_delay": "How long to go on accepting requests after SIGINT or SIGTERM, while /readyz answers 503, so "
    "that load balancers send new requests elsewhere. --graceful-timeout begins after it.",
    # Collection.
    "collect_every": "How often to delete what is no longer needed, while requests are served; 0 is never. See "
    "`ociserver collect`.",
    "unreferenced_after": "Remove a blob from a repository if no manifest there references it and it was last pushed, "
    "mounted or requested this long ago. Must be longer than a push takes.",
    "grace": "How long to keep a blob or manifest after it was removed from the last repository that had it.",
    "upload_timeout": "End an upload that received no data for this long.",
    "delete_untagged_after": "Delete a manifest if no tag, index or existing subject needs it and it was last pushed, "
    "requested by HEAD or untagged this long ago. Without this flag, no manifest is deleted.",
    # Metrics.
    "metrics_address": "Where to answer Prometheus' scrapes, at /metrics: 127.0.0.1:9100, or 9100 for a port of "
    "127.0.0.1. Everybody who reaches this address can read the metrics. Without this flag there are none.",
    # Traces.
    "traces": "Export a trace of each request to an OpenTelemetry collector, over OTLP and HTTP. The standard OTEL_ "
    "variables apply, but without this flag nothing is exported.",
    "traces_endpoint": "URL of the collector, such as http://localhost:4318. By default that of "
    "OTEL_EXPORTER_OTLP_ENDPOINT.",
    # The log.
    "log_level": "Lowest level of messages to log.",
    "log_format": "text: lines for people. json: one JSON object on each line. The log is written to stdout.",
    "access_log": "Log each request when it ends. If the reader of the log is too slow, lines are dropped and counted.",
}
"""The help text of each setting that is both a flag and a key, by parameter name."""

_ARGUMENT: Final = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def help_of_options() -> dict[str, str]:
    """The help text of each field of `Options`, by name. The docstring of `Options` is the only place for them."""
    return {name: _sentence(text) for name, text in _ARGUMENT.findall(inspect.getdoc(Options) or "")}


def _sentence(text: str) -> str:
    plain = " ".join(text.split()).replace("`", "")
    return plain[:1].upper() + plain[1:]
