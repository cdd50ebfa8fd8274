"""What distribution's variables mean here. Their names and values are those of its documentation and its source."""

from __future__ import annotations

from typing import Any, Final

import pytest

from ociserver.container import any_address, translated

UNDERSTOOD: Final[dict[str, tuple[dict[str, str], dict[str, Any]]]] = {
    "a port": ({"HTTP_ADDR": ":5001"}, {"server.host": any_address(), "server.port": 5001}),
    "an address": ({"HTTP_ADDR": "[::1]:80"}, {"server.host": "::1", "server.port": 80}),
    "TLS": (
        {"HTTP_TLS_CERTIFICATE": "/c", "HTTP_TLS_KEY": "/k", "HTTP_TLS_CLIENTCAS": "['/a']"},
        {"server.tls-cert": "/c", "server.tls-key": "/k", "server.tls-client-ca": "/a"},
    ),
    "one authority": ({"HTTP_TLS_CLIENTCAS_0": "/a"}, {"server.tls-client-ca": "/a"}),
    "the log": (
        {"LOG_LEVEL": "WARN", "LOG_FORMATTER": "json", "LOG_ACCESSLOG_DISABLED": "true"},
        {"server.log-level": "warning", "server.log-format": "json", "server.access-log": False},
    ),
    "metrics": (
        {"HTTP_DEBUG_ADDR": "0.0.0.0:5001", "HTTP_DEBUG_PROMETHEUS_ENABLED": "true"},
        {"metrics.address": "0.0.0.0:5001"},
    ),
    "a stop": ({"HTTP_DRAINTIMEOUT": "1m30s"}, {"server.graceful-timeout": 90.0}),
    "a folder": ({"STORAGE_FILESYSTEM_ROOTDIRECTORY": "/d"}, {"registry.kind": "store", "registry.data": "/d"}),
    "memory": ({"STORAGE": "inmemory"}, {"registry.kind": "memory"}),
    "deletes": ({"STORAGE_DELETE_ENABLED": "true"}, {"registry.kind": "store"}),
    "no deletes": (
        {"STORAGE_DELETE_ENABLED": "false"},
        {"registry.kind": "no-delete", "registry.backend.kind": "store"},
    ),
    "read-only": (
        {"STORAGE_MAINTENANCE_READONLY_ENABLED": "true"},
        {"registry.kind": "read-only", "registry.backend.kind": "store"},
    ),
    "read-only as a map": ({"STORAGE_MAINTENANCE_READONLY": '{"enabled": true}'}, {"registry.kind": "read-only"}),
    "not read-only": ({"STORAGE_MAINTENANCE_READONLY": "{enabled: false}"}, {"registry.kind": "store"}),
    "old uploads": ({"STORAGE_MAINTENANCE_UPLOADPURGING_AGE": "168h"}, {"registry.upload-timeout": 604800.0}),
    "a proxy": (
        {"PROXY_REMOTEURL": "https://a.example", "PROXY_USERNAME": "u", "PROXY_PASSWORD": "'p'", "PROXY_TTL": "0"},
        {
            "registry.kind": "cache",
            "registry.local.kind": "store",
            "registry.local-repositories": [],
            "registry.upstream.kind": "client",
            "registry.upstream.url": "https://a.example",
            "registry.upstream.username": "u",
            "registry.upstream.password": "p",
        },
    ),
    "users": (
        {"AUTH_HTPASSWD_PATH": "/h", "AUTH_HTPASSWD_REALM": "any", "HTTP_HOST": "https://a.example/"},
        {"auth.htpasswd.file": "/h", "auth.realm": "https://a.example/v2/token"},
    ),
    "tokens": (
        {
            "AUTH_TOKEN_REALM": "https://a.example/token",
            "AUTH_TOKEN_SERVICE": "s",
            "AUTH_TOKEN_ISSUER": "i",
            "AUTH_TOKEN_ROOTCERTBUNDLE": "/b",
            "AUTH_TOKEN_SIGNINGALGORITHMS": "[RS256, ES256]",
        },
        {
            "auth.token-server.realm": "https://a.example/token",
            "auth.token-server.service": "s",
            "auth.token-server.issuer": "i",
            "auth.token-server.certificates": "/b",
            "auth.token-server.algorithms": ["RS256", "ES256"],
        },
    ),
    "pages": ({"CATALOG_MAXENTRIES": "100", "TAGS_MAXTAGS": "100"}, {"options.max-list-page-size": 100}),
}


def at(document: Any, path: str) -> Any:
    for key in path.split("."):
        document = document[key]
    return document


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_what_is_understood(name: str) -> None:
    variables, wanted = UNDERSTOOD[name]
    result = translated({f"REGISTRY_{name}": value for name, value in variables.items()})
    assert not result.problems
    assert {path: at(result.document, path) for path in wanted} == wanted


REFUSED: Final[dict[str, tuple[str, str]]] = {
    # What it would do, and what to use instead.
    "STORAGE": ("s3", "filesystem, inmemory"),
    "STORAGE_S3_BUCKET": ("b", "docs/config.md"),
    "STORAGE_DELETE_ENABLED": ("maybe", "must be true or false"),
    "STORAGE_MAINTENANCE_UPLOADPURGING_ENABLED": ("false", "UPLOADPURGING_AGE"),
    "AUTH": ("silly", "htpasswd, token, none"),
    "AUTH_SILLY_REALM": ("r", "accepts everybody"),
    "AUTH_HTPASSWD_REALM": ("r", "REGISTRY_AUTH_HTPASSWD_PATH: is missing"),
    "AUTH_HTPASSWD_PAHT": ("/h", "is not known"),
    "AUTH_TOKEN_ISSUER": ("i", "REGISTRY_AUTH_TOKEN_REALM: is missing"),
    "CONFIGURATION_PATH": ("/c", "OCISERVER_CONFIG"),
    "HTTP_ADDR": ("5000", "with a port"),
    "HTTP_NET": ("unix", "must be one of tcp"),
    "HTTP_PREFIX": ("/registry", "must be one of /"),
    "HTTP_H2C_ENABLED": ("true", "HTTP/1.1"),
    "HTTP_HEADERS_Access-Control-Allow-Origin": ("['*']", "a proxy"),
    "HTTP_DEBUG_PROMETHEUS_ENABLED": ("true", "REGISTRY_HTTP_DEBUG_ADDR: is missing"),
    "HTTP_DEBUG_PROMETHEUS_PATH": ("/figures", "/metrics"),
    "HTTP_TLS_CLIENTAUTH": ("verify-client-cert-if-given", "require-and-verify"),
    "HTTP_TLS_CLIENTCAS": ("[/a, /b]", "one file"),
    "HTTP_TLS_LETSENCRYPT_EMAIL": ("a@a.example", "Caddy"),
    "HTTP_TLS_MINIMUMTLS": ("tls1.3", "tls1.2"),
    "HEALTH_FILE_0_FILE": ("/f", "/readyz"),
    "LOG_FORMATTER": ("logstash", "json"),
    "LOG_HOOKS_0_TYPE": ("mail", "stdout"),
    "LOG_LEVEL": ("trace", "debug, info, warn, error"),
    "MIDDLEWARE_STORAGE_0_NAME": ("cloudfront", "no middleware"),
    "NOTIFICATIONS_ENDPOINTS_0_URL": ("https://a.example", "no notifications"),
    "POLICY_REPOSITORY_CLASSES_0": ("image", "[auth]"),
    "PROXY_TTL": ("168h", "must be 0"),
    "PROXY_EXEC_COMMAND": ("c", "REMOTEURL"),
    "PROXY_PASSWORD": ("secret", "REGISTRY_PROXY_REMOTEURL: is missing"),
    "VALIDATION_MANIFESTS_URLS_ALLOW_0": (".*", "LAX_CHILD_REFERENCES"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_by_name(name: str) -> None:
    value, instead = REFUSED[name]
    result = translated({f"REGISTRY_{name}": value})
    assert result.problems
    assert any(instead in problem for problem in result.problems), result.problems
    assert "secret" not in "".join(result.problems), "a value may be a secret"


WITHOUT_EFFECT: Final = {
    "HTTP_SECRET": "x",
    "HTTP_RELATIVEURLS": "true",
    "HTTP_HTTP2_DISABLED": "true",
    "HTTP_HOST": "https://a.example",
    "STORAGE_CACHE_BLOBDESCRIPTOR": "inmemory",
    "STORAGE_REDIRECT_DISABLE": "true",
    "STORAGE_TAG_CONCURRENCYLIMIT": "8",
    "STORAGE_MAINTENANCE_UPLOADPURGING_INTERVAL": "24h",
    "HTTP_DEBUG_ADDR": ":5001",
    "REDIS_ADDR": "redis:6379",
    "LOG_FIELDS_SERVICE": "registry",
    "HEALTH_STORAGEDRIVER_ENABLED": "true",
    "COMPATIBILITY_SCHEMA1_ENABLED": "true",
    "USER": "somebody's",
}


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_what_has_no_effect_is_named_with_the_reason(name: str) -> None:
    result = translated({f"REGISTRY_{name}": WITHOUT_EFFECT[name]})
    assert not result.problems
    (note,) = result.notes
    assert note.startswith(f"REGISTRY_{name} has no effect: ")


def test_a_service_of_kubernetes_with_this_name_is_no_setting() -> None:
    """https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables"""
    variables = {
        "REGISTRY_SERVICE_HOST": "10.0.0.11",
        "REGISTRY_SERVICE_PORT": "5000",
        "REGISTRY_SERVICE_PORT_HTTP": "5000",
        "REGISTRY_PORT": "tcp://10.0.0.11:5000",
        "REGISTRY_PORT_5000_TCP": "tcp://10.0.0.11:5000",
        "REGISTRY_PORT_5000_TCP_PROTO": "tcp",
        "REGISTRY_PORT_5000_TCP_PORT": "5000",
        "REGISTRY_PORT_5000_TCP_ADDR": "10.0.0.11",
        "REGISTRY_UI_SERVICE_HOST": "10.0.0.12",
    }
    result = translated(variables)
    assert (result.problems, result.notes, result.effective) == ([], [], [])


def test_empty_variables_are_missing_ones() -> None:
    assert not translated({"REGISTRY_PROXY_REMOTEURL": "", "REGISTRY_NOTIFICATIONS_ENDPOINTS": ""}).problems


def test_two_kinds_of_users_are_refused() -> None:
    result = translated({"REGISTRY_AUTH_HTPASSWD_PATH": "/h", "REGISTRY_AUTH_TOKEN_REALM": "https://a.example"})
    assert "only one of" in result.problems[0]
    assert "auth" not in result.document
