"""What Helm makes of the chart. Only with FULL_TESTS, because Helm takes minutes to build."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from ociserver.config import Config, parse
from tests.support.tools import ROOT, require_tool

CHART: Final = ROOT / "deploy" / "helm" / "ociserver"
VALUES: Final[dict[str, Any]] = yaml.safe_load((CHART / "values.yaml").read_text())
IMAGE: Final = "image.repository=registry.example/ociserver"
KUBERNETES: Final = "1.33"


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [require_tool("helm"), *arguments], capture_output=True, text=True, timeout=60, env={"HOME": "/nonexistent"}
    )


def rendered(*settings: str) -> dict[str, Any]:
    """The objects that Helm makes, by kind."""
    given = [word for setting in (IMAGE, *settings) for word in ("--set", setting)]
    done = helm("template", "release", str(CHART), "--kube-version", KUBERNETES, *given)
    assert done.returncode == 0, done.stderr
    return {each["kind"]: each for each in yaml.safe_load_all(done.stdout) if each}


def refusal(*settings: str) -> str:
    """Why Helm refuses these values."""
    given = [word for setting in settings for word in ("--set", setting)]
    done = helm("template", "release", str(CHART), "--kube-version", KUBERNETES, *given)
    assert done.returncode != 0
    return done.stderr


def config_of(objects: dict[str, Any]) -> Config:
    """The configuration of the server, checked as the server does."""
    text = objects["ConfigMap"]["data"]["registry.toml"]
    return parse(text, Path("/etc/ociserver/registry.toml"))


def pod_of(objects: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = objects["StatefulSet"]["spec"]["template"]["spec"]
    return pod


def test_lint() -> None:
    done = helm("lint", "--strict", "--kube-version", KUBERNETES, str(CHART), "--set", IMAGE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout


def test_the_pod_has_the_restricted_profile() -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    pod = pod_of(rendered())
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False


def test_probes_volume_and_service() -> None:
    objects = rendered()
    (container,) = pod_of(objects)["containers"]
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http", "scheme": "HTTP"}
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    (claim,) = objects["StatefulSet"]["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "10Gi"
    assert {"name": "data", "mountPath": "/var/lib/registry"} in container["volumeMounts"]
    assert objects["Service"]["spec"]["selector"].items() <= (
        objects["StatefulSet"]["spec"]["template"]["metadata"]["labels"].items()
    )
    assert sorted(objects) == ["ConfigMap", "Service", "StatefulSet"]


def test_secrets_become_files_of_the_configuration() -> None:
    objects = rendered(
        "auth.htpasswd.existingSecret=users",
        "tls.existingSecret=certificate",
        "config.server.max-connections=5000",
        "config.auth.rules[0].authenticated=true",
        "config.auth.rules[0].repositories={*}",
        "config.auth.rules[0].allow={pull,push}",
    )
    config = config_of(objects)
    assert config.auth
    assert config.auth.htpasswd
    assert config.server.max_connections == 5000
    mounts = {each["name"]: each["mountPath"] for each in pod_of(objects)["containers"][0]["volumeMounts"]}
    volumes = {each["name"]: each.get("secret", {}).get("secretName") for each in pod_of(objects)["volumes"]}
    assert str(config.auth.htpasswd.file) == f"{mounts['users']}/htpasswd"
    assert str(config.server.tls_cert) == f"{mounts['tls']}/tls.crt"
    assert (volumes["users"], volumes["tls"]) == ("users", "certificate")
    assert pod_of(objects)["containers"][0]["readinessProbe"]["httpGet"]["scheme"] == "HTTPS"
    keys = rendered("auth.tokenKeys.existingSecret=keys", "auth.tokenKeys.keys={new,old}")
    assert keys["ConfigMap"]["data"]["registry.toml"].index("token-keys/new") < (
        keys["ConfigMap"]["data"]["registry.toml"].index("token-keys/old")
    )


def test_ingress_route_and_monitor() -> None:
    objects = rendered(
        "ingress.enabled=true",
        "ingress.hosts={registry.example}",
        "httpRoute.enabled=true",
        "httpRoute.parentRefs[0].name=gateway",
        "httpRoute.hostnames={registry.example}",
        "metrics.enabled=true",
        "metrics.serviceMonitor.enabled=true",
    )
    assert objects["Ingress"]["spec"]["rules"][0]["host"] == "registry.example"
    assert objects["Ingress"]["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"] == "0"
    (rule,) = objects["HTTPRoute"]["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": objects["Service"]["metadata"]["name"], "port": 5000}]
    assert config_of(objects).metrics.address == "0.0.0.0:9100"
    assert {"name": "metrics", "containerPort": 9100} in pod_of(objects)["containers"][0]["ports"]
    assert objects["ServiceMonitor"]["spec"]["endpoints"][0]["port"] == "metrics"


@pytest.mark.parametrize(
    "settings, why",
    [
        ((IMAGE, "replicaCount=2"), "replicaCount must be 1"),
        ((), "set image.repository"),
        ((IMAGE, "metrics.serviceMonitor.enabled=true"), "needs metrics.enabled"),
        ((IMAGE, "ingress.enabled=true"), "set ingress.hosts"),
        ((IMAGE, "httpRoute.enabled=true"), "set httpRoute.parentRefs"),
        ((IMAGE, "auth.htpasswd.password=x"), "additional properties 'password' not allowed"),
    ],
)
def test_what_is_refused(settings: tuple[str, ...], why: str) -> None:
    assert why in refusal(*settings)


def test_a_changed_configuration_makes_a_new_pod() -> None:
    def checksum(*settings: str) -> str:
        annotations = rendered(*settings)["StatefulSet"]["spec"]["template"]["metadata"]["annotations"]
        return str(annotations["checksum/config"])

    assert checksum() != checksum("config.server.log-format=text")
    assert checksum() == checksum("persistence.size=1Gi")
