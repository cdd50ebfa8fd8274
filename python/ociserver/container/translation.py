"""From distribution's variables to a configuration, in the form of `registry.toml`.

No variable is ignored silently: each is translated, named with the reason why it has no effect, or refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ociserver.container.image import FOREIGN_FILES, any_address
from ociserver.container.variables import IGNORED, PREFIX, REFUSED, SECTIONS, UNDERSTOOD, is_of_kubernetes, matching

__all__ = ["Translation", "translated"]

_EVERYTHING: Final = ["pull", "push", "delete"]


@dataclass(slots=True)
class Translation:
    """What the variables mean.

    Args:
        document: the configuration: tables by name.
        sources: the variable from which a key of the document comes, by the dotted path of the key.
        notes: a sentence for each variable without effect.
        problems: a line for each variable that is refused.
        effective: the variables that are translated.
    """

    document: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    effective: list[str] = field(default_factory=list)

    def source(self, key: str) -> str:
        """The variable to which a problem with a key belongs."""
        while key and key not in self.sources:
            key = key.rpartition(".")[0]
        return self.sources.get(key, "the REGISTRY_ variables")

    def put(self, path: str, value: Any, source: str) -> None:
        """Set a key of the document."""
        table = self.document
        *tables, key = path.split(".")
        for name in tables:
            table = table.setdefault(name, {})
        table[key] = value
        self.sources[path] = PREFIX + source

    def refuse(self, name: str, why: str) -> None:
        self.problems.append(f"{PREFIX}{name}: {why}")

    def note(self, name: str, why: str) -> None:
        self.notes.append(f"{PREFIX}{name} has no effect: {why}")


def translated(environ: Mapping[str, str]) -> Translation:
    """Translate the variables of an environment. Empty ones count as missing, as for distribution."""
    result = Translation()
    read: dict[str, Any] = {}
    for variable, value in sorted(environ.items()):
        name = variable.removeprefix(PREFIX)
        if name != variable and value and not is_of_kubernetes(name):
            _read(result, read, name, value)
    result.effective = [PREFIX + name for name in read]
    if not result.problems:
        _server(result, read)
        _metrics(result, read)
        _lists(result, read)
        _auth(result, read)
        _registry(result, read)
    for file in FOREIGN_FILES:
        if file.exists():
            result.problems.append(
                f"{file}: this is a configuration of distribution. Remove it, and set variables or write "
                "/etc/ociserver/registry.toml; see docs/config.md"
            )
    return result


def _read(result: Translation, read: dict[str, Any], name: str, value: str) -> None:
    if name in UNDERSTOOD:
        try:
            read[name] = UNDERSTOOD[name](value)
        except ValueError as error:
            hint = REFUSED.get(name)
            result.refuse(name, f"{error}; {hint}" if hint else str(error))
    elif (why := matching(name, IGNORED)) is not None:
        result.note(name, why)
    elif (why := matching(name, REFUSED)) is not None:
        result.refuse(name, f"is not supported: {why}")
    elif name.partition("_")[0] in SECTIONS:
        result.refuse(name, "is not known. Correct its name, or remove it")
    else:
        result.note(name, "it is not a variable of the registry")


def _server(result: Translation, read: Mapping[str, Any]) -> None:
    if "HTTP_ADDR" in read:
        host, port = read["HTTP_ADDR"]
        result.put("server.host", host or any_address(), "HTTP_ADDR")
        result.put("server.port", port, "HTTP_ADDR")
    for name, key in (
        ("HTTP_TLS_CERTIFICATE", "tls-cert"),
        ("HTTP_TLS_KEY", "tls-key"),
        ("HTTP_TLS_CLIENTCAS_0", "tls-client-ca"),
        ("HTTP_DRAINTIMEOUT", "graceful-timeout"),
        ("LOGLEVEL", "log-level"),
        ("LOG_LEVEL", "log-level"),
        ("LOG_FORMATTER", "log-format"),
    ):
        if name in read:
            result.put(f"server.{key}", read[name], name)
    if "LOG_ACCESSLOG_DISABLED" in read:
        result.put("server.access-log", not read["LOG_ACCESSLOG_DISABLED"], "LOG_ACCESSLOG_DISABLED")
    authorities = read.get("HTTP_TLS_CLIENTCAS", [])
    if len(authorities) == 1:
        result.put("server.tls-client-ca", authorities[0], "HTTP_TLS_CLIENTCAS")
    elif authorities:
        result.refuse("HTTP_TLS_CLIENTCAS", "put all authorities into one file, and name only that")
    if read.get("HTTP_H2C_ENABLED"):
        result.refuse("HTTP_H2C_ENABLED", "the server speaks HTTP/1.1; let a proxy in front speak HTTP/2")


def _metrics(result: Translation, read: Mapping[str, Any]) -> None:
    if read.get("HTTP_DEBUG_PROMETHEUS_ENABLED"):
        if "HTTP_DEBUG_ADDR" not in read:
            result.refuse("HTTP_DEBUG_ADDR", "is missing: where to answer Prometheus")
            return
        host, port = read["HTTP_DEBUG_ADDR"]
        host = host or any_address()
        result.put("metrics.address", f"[{host}]:{port}" if ":" in host else f"{host}:{port}", "HTTP_DEBUG_ADDR")
    elif "HTTP_DEBUG_ADDR" in read:
        result.note(
            "HTTP_DEBUG_ADDR", "there is no debug server. Set REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED for metrics"
        )


def _lists(result: Translation, read: Mapping[str, Any]) -> None:
    bounds = {name: read[name] for name in ("CATALOG_MAXENTRIES", "TAGS_MAXTAGS") if read.get(name)}
    if len(set(bounds.values())) > 1:
        result.refuse("TAGS_MAXTAGS", "must be equal to REGISTRY_CATALOG_MAXENTRIES: all lists have the same bound")
    for name, bound in bounds.items():
        result.put("options.max-list-page-size", bound, name)
    if read.get("VALIDATION_DISABLED"):
        result.refuse("VALIDATION_DISABLED", REFUSED["VALIDATION"])


def _auth(result: Translation, read: Mapping[str, Any]) -> None:
    kinds = {
        kind
        for kind in ("htpasswd", "token")
        if read.get("AUTH") == kind or any(name.startswith(f"AUTH_{kind.upper()}_") for name in read)
    }
    if len(kinds) > 1 or (kinds and read.get("AUTH") == "none"):
        result.refuse("AUTH", "only one of htpasswd, token and none is possible")
    elif "htpasswd" in kinds:
        _htpasswd(result, read)
    elif "token" in kinds:
        _token(result, read)
    if "htpasswd" not in kinds and "HTTP_HOST" in read:
        result.note("HTTP_HOST", "locations are relative, or begin as the client has asked")


def _htpasswd(result: Translation, read: Mapping[str, Any]) -> None:
    if "AUTH_HTPASSWD_PATH" not in read:
        result.refuse("AUTH_HTPASSWD_PATH", "is missing: the file with lines of user:hash")
        return
    result.put("auth.htpasswd.file", read["AUTH_HTPASSWD_PATH"], "AUTH_HTPASSWD_PATH")
    rule = {"authenticated": True, "repositories": ["*"], "allow": _EVERYTHING}
    result.put("auth.rules", [rule], "AUTH_HTPASSWD_PATH")
    if "HTTP_HOST" in read:
        result.put("auth.realm", f"{read['HTTP_HOST'].rstrip('/')}/v2/token", "HTTP_HOST")
    if "AUTH_HTPASSWD_REALM" in read:
        result.note("AUTH_HTPASSWD_REALM", "clients are asked for tokens of /v2/token, or for a user and a password")


def _token(result: Translation, read: Mapping[str, Any]) -> None:
    for name, key in (
        ("REALM", "realm"),
        ("SERVICE", "service"),
        ("ISSUER", "issuer"),
        ("ROOTCERTBUNDLE", "certificates"),
        ("JWKS", "jwks"),
        ("SIGNINGALGORITHMS", "algorithms"),
    ):
        if f"AUTH_TOKEN_{name}" in read:
            result.put(f"auth.token-server.{key}", read[f"AUTH_TOKEN_{name}"], f"AUTH_TOKEN_{name}")
    for name in ("REALM", "SERVICE", "ISSUER"):
        if f"AUTH_TOKEN_{name}" not in read:
            result.refuse(f"AUTH_TOKEN_{name}", "is missing")
    if ("AUTH_TOKEN_ROOTCERTBUNDLE" in read) == ("AUTH_TOKEN_JWKS" in read):
        result.refuse(
            "AUTH_TOKEN_ROOTCERTBUNDLE", "set either this or REGISTRY_AUTH_TOKEN_JWKS: the keys of the tokens"
        )
    if read.get("AUTH_TOKEN_AUTOREDIRECT"):
        result.refuse("AUTH_TOKEN_AUTOREDIRECT", REFUSED["AUTH_TOKEN_AUTOREDIRECTPATH"])


def _registry(result: Translation, read: Mapping[str, Any]) -> None:
    at = "registry"
    if read.get("STORAGE_MAINTENANCE_READONLY_ENABLED") or read.get("STORAGE_MAINTENANCE_READONLY"):
        result.put(f"{at}.kind", "read-only", "STORAGE_MAINTENANCE_READONLY")
        at += ".backend"
    elif read.get("STORAGE_DELETE_ENABLED") is False:
        result.put(f"{at}.kind", "no-delete", "STORAGE_DELETE_ENABLED")
        at += ".backend"
    if "PROXY_REMOTEURL" in read:
        _proxy(result, read, at)
        at += ".local"
    elif "PROXY_USERNAME" in read or "PROXY_PASSWORD" in read:
        result.refuse("PROXY_REMOTEURL", "is missing: the registry to which the user belongs")
    if read.get("PROXY_TTL"):
        result.refuse("PROXY_TTL", f"must be 0: contents do not expire; {REFUSED['PROXY']}")
    _store(result, read, at)


def _proxy(result: Translation, read: Mapping[str, Any], at: str) -> None:
    result.put(f"{at}.kind", "cache", "PROXY_REMOTEURL")
    # As with distribution, nothing can be pushed.
    result.put(f"{at}.local-repositories", [], "PROXY_REMOTEURL")
    result.put(f"{at}.upstream.kind", "client", "PROXY_REMOTEURL")
    for name, key in (("REMOTEURL", "url"), ("USERNAME", "username"), ("PASSWORD", "password")):
        if f"PROXY_{name}" in read:
            result.put(f"{at}.upstream.{key}", read[f"PROXY_{name}"], f"PROXY_{name}")


def _store(result: Translation, read: Mapping[str, Any], at: str) -> None:
    if read.get("STORAGE") == "inmemory":
        result.put(f"{at}.kind", "memory", "STORAGE")
        return
    result.put(f"{at}.kind", "store", "STORAGE")
    if "STORAGE_FILESYSTEM_ROOTDIRECTORY" in read:
        name = "STORAGE_FILESYSTEM_ROOTDIRECTORY"
        result.put(f"{at}.data", read[name], name)
    purging = "STORAGE_MAINTENANCE_UPLOADPURGING"
    if f"{purging}_AGE" in read:
        result.put(f"{at}.upload-timeout", read[f"{purging}_AGE"], f"{purging}_AGE")
    if read.get(f"{purging}_ENABLED") is False or read.get(f"{purging}_DRYRUN"):
        name = f"{purging}_ENABLED" if read.get(f"{purging}_ENABLED") is False else f"{purging}_DRYRUN"
        result.refuse(
            name, f"uploads that nobody continues are always ended; set REGISTRY_{purging}_AGE to a long time"
        )
