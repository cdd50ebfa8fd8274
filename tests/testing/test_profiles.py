"""Each profile does what it says, and a real client that knows the registry sees that."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from ociserver.testing import Registry
from ociserver.testing.profiles import PROFILES, RateLimit, Tokens, profile_named
from tests.registries.kinds import KINDS
from tests.testing.clients import Clients

DOCUMENT = Path(__file__).parents[2] / "docs" / "testing.md"

HUB_LIMIT = RateLimit(2, 21600, PROFILES["dockerhub"].rate_limit.message)  # type: ignore[union-attr]


def profiled(name: str, **options: Any) -> pytest.MarkDecorator:
    return pytest.mark.oci_registry(profile=name, **options)


def errors_of(answer: httpx.Response) -> dict[str, Any]:
    (error,) = answer.json()["errors"]
    assert isinstance(error, dict)
    return error


def test_each_difference_has_a_source_and_is_documented() -> None:
    assert set(PROFILES) == {"distribution2", "dockerhub", "ecr", "gcr", "ghcr", "gitlab", "harbor", "quay"}
    document = DOCUMENT.read_text(encoding="utf-8")
    for profile in PROFILES.values():
        assert profile.differences
        for difference in profile.differences:
            assert urlsplit(difference.source).scheme == "https"
            assert f"{difference.what.rstrip('.')} ([source]({difference.source}))" in document
    with pytest.raises(ValueError, match="no profile 'acr': the profiles are distribution2, dockerhub, ecr"):
        profile_named("acr")


@pytest.mark.parametrize("name", [name for name in PROFILES if name != "ecr"])
def test_each_profile_lets_clients_push_and_pull(name: str, oci_registry_factory: Any, tmp_path: Path) -> None:
    registry: Registry = oci_registry_factory(profile=name, auth=True)
    clients = Clients(registry, tmp_path)
    clients.sign_in()
    image = registry.image("team/app", "v1")
    copied = clients.crane("copy", image.reference, f"{registry.host}/team/other:v2")
    assert copied.succeeded, copied.stderr
    assert clients.crane("digest", f"{registry.host}/team/other:v2").stdout.strip() == image.digest
    profile = PROFILES[name]
    assert isinstance(profile.sign_in, Tokens)
    tokens = [request for request in registry.requests if request.kind == "token"]
    assert tokens
    assert all(request.path == profile.sign_in.path and request.status == 200 for request in tokens)
    assert profile.sign_in.service is None or f"service={profile.sign_in.service}" in tokens[0].query


class TestEcr:
    @profiled("ecr", auth=True)
    def test_crane_signs_in_with_a_password_and_without_a_token(self, oci_registry: Registry, clients: Clients) -> None:
        clients.sign_in()
        image = oci_registry.image("team/app", "v1")
        assert clients.crane("digest", image.reference).stdout.strip() == image.digest
        assert oci_registry.credentials
        assert oci_registry.credentials.user == "AWS"
        asked = oci_registry.requests
        assert [request.kind for request in asked] == ["ping", "manifest_head"]
        assert asked[-1].headers["authorization"].startswith("Basic ")

    @profiled("ecr", auth=True)
    def test_the_challenge(self, oci_registry: Registry, client: httpx.Client) -> None:
        challenge = client.get("/v2/").headers["WWW-Authenticate"]
        assert challenge == f'Basic realm="{oci_registry.url}/",service="ecr.amazonaws.com"'
        with pytest.raises(ValueError, match="no token endpoint"):
            oci_registry.fail(401, kind="token")

    @profiled("ecr")
    def test_a_push_needs_a_repository(self, oci_registry: Registry, clients: Clients) -> None:
        image = oci_registry.image("team/app", "v1")
        target = f"{oci_registry.host}/team/new:v1"
        done = clients.crane("copy", image.reference, target)
        assert not done.succeeded
        assert "NAME_UNKNOWN: The repository with name 'team/new' does not exist in the registry" in done.stderr
        oci_registry.create_repository("team/new")
        assert clients.crane("copy", image.reference, target).succeeded
        # Each blob was uploaded: the registry mounts nothing.
        mounts = [request for request in oci_registry.requests if request.kind == "blob_mount"]
        assert {request.status for request in mounts} <= {404, 202}
        assert "upload_complete" in [request.kind for request in oci_registry.requests]
        oci_registry.reset()
        assert not clients.crane("copy", image.reference, target).succeeded

    @profiled("ecr")
    def test_pages(self, oci_registry: Registry, client: httpx.Client) -> None:
        oci_registry.push("app", "v1")
        answer = client.get("/v2/app/tags/list?n=1001")
        assert (answer.status_code, errors_of(answer)["code"]) == (400, "UNSUPPORTED")
        assert client.get("/v2/app/tags/list?n=1000").status_code == 200


@profiled("gcr")
def test_gcr_keeps_manifests_with_tags(oci_registry: Registry, clients: Clients) -> None:
    image = oci_registry.image("app", "v1")
    done = clients.crane("delete", image.by_digest)
    assert "GOOGLE_MANIFEST_DANGLING_TAG: Manifest is still referenced by tag: v1" in done.stderr
    assert clients.crane("delete", image.reference).succeeded
    assert clients.crane("delete", image.by_digest).succeeded
    assert oci_registry.repositories() == [] or oci_registry.tags("app") == []


class TestGhcr:
    @profiled("ghcr")
    def test_skopeo_cannot_delete(self, oci_registry: Registry, clients: Clients) -> None:
        image = oci_registry.image("app", "v1")
        done = clients.skopeo("delete", "--tls-verify=false", f"docker://{image.reference}")
        assert not done.succeeded
        assert "The operation is unsupported." in done.stderr
        assert oci_registry.requests[-1].status == 405
        assert oci_registry.tags("app") == ["v1"]

    @profiled("ghcr")
    def test_tags_in_the_order_of_their_pushes(
        self, oci_registry: Registry, clients: Clients, client: httpx.Client
    ) -> None:
        tags = ["v2", "v10", "v1", "latest"]
        for tag in tags:
            oci_registry.push("app", tag, {"name": tag})
        oci_registry.push("app", "v2", {"name": "again"})
        assert clients.crane("ls", f"{oci_registry.host}/app").lines == tags
        paged, target = list[str](), "/v2/app/tags/list?n=1"
        while target:
            answer = client.get(target)
            paged += answer.json()["tags"]
            target = answer.links.get("next", {}).get("url", "")
        assert paged == tags

    @profiled("ghcr")
    def test_oras_falls_back_to_the_tag_of_referrers(self, oci_registry: Registry, clients: Clients) -> None:
        image = oci_registry.image("app", "v1")
        (clients.home / "sbom").write_text("{}")
        done = clients.oras(
            "attach", "--plain-http", "--disable-path-validation", "--artifact-type", "application/vnd.example",
            image.by_digest, str(clients.home / "sbom"),
        )  # fmt: skip
        assert done.succeeded, done.stderr
        assert oci_registry.tags("app") == [image.digest.replace(":", "-"), "v1"]
        found = clients.oras("discover", "--plain-http", "--format", "json", image.reference)
        assert len(json.loads(found.stdout)["referrers"]) == 1
        assert {each.status for each in oci_registry.requests if each.kind == "referrers_list"} == {404}


class TestDockerHub:
    @pytest.mark.oci_registry(profile=replace(PROFILES["dockerhub"], rate_limit=HUB_LIMIT))
    def test_the_rate_limit(self, oci_registry: Registry, client: httpx.Client, clients: Clients) -> None:
        image = oci_registry.image("library/app", "v1")
        path = "/v2/library/app/manifests/v1"
        for answer, left in ((client.head(path), 2), (client.get(path), 1), (client.head(path), 1)):
            assert answer.status_code == 200
            assert answer.headers["ratelimit-limit"] == "2;w=21600"
            assert answer.headers["ratelimit-remaining"] == f"{left};w=21600"
            assert answer.headers["docker-ratelimit-source"] == "127.0.0.1"
        assert client.get("/v2/library/app/manifests/absent").status_code == 404
        assert client.get(path).headers["ratelimit-remaining"] == "0;w=21600"
        refused = client.get(path)
        assert refused.status_code == 429
        assert errors_of(refused)["code"] == "TOOMANYREQUESTS"
        assert "You have reached your pull rate limit." in errors_of(refused)["message"]
        assert client.head(path).status_code == 200
        # skopeo would try again for half a minute.
        assert "TOOMANYREQUESTS: You have reached your pull" in clients.crane("manifest", image.reference).stderr
        oci_registry.reset()
        oci_registry.image("library/app", "v1")
        assert client.get(path).headers["ratelimit-remaining"] == "1;w=21600"

    @profiled("dockerhub", auth="push")
    def test_anonymous_pulls_need_a_token(self, oci_registry: Registry, client: httpx.Client, clients: Clients) -> None:
        image = oci_registry.image("library/app", "v1")
        challenge = client.get("/v2/").headers["WWW-Authenticate"]
        assert challenge == f'Bearer realm="{oci_registry.url}/token",service="registry.docker.io"'
        assert clients.crane("digest", image.reference).stdout.strip() == image.digest
        assert oci_registry.requests[-2].target.startswith("/token?scope=repository%3Alibrary%2Fapp%3Apull")
        assert client.delete(f"/v2/library/app/manifests/{image.digest}").status_code == 401

    @profiled("dockerhub")
    def test_regctl_cannot_delete(self, oci_registry: Registry, clients: Clients) -> None:
        image = oci_registry.image("library/app", "v1")
        done = clients.regctl("manifest", "delete", image.by_digest)
        assert not done.succeeded
        assert oci_registry.requests[-1].status == 405


class TestQuay:
    @profiled("quay")
    def test_pages(self, oci_registry: Registry, client: httpx.Client, clients: Clients) -> None:
        for number in range(150):
            oci_registry.push("app", f"v{number:03}")
        for query in ("", "?n=1000"):
            answer = client.get(f"/v2/app/tags/list{query}")
            assert len(answer.json()["tags"]) == 100
            assert 'rel="next"' in answer.headers["Link"]
        assert len(client.get("/v2/app/tags/list?n=7").json()["tags"]) == 7
        assert len(clients.crane("ls", f"{oci_registry.host}/app").lines) == 150

    @profiled("quay")
    def test_errors(self, oci_registry: Registry, client: httpx.Client) -> None:
        oci_registry.push("app", "v1")
        answer = client.get("/v2/app/manifests/absent")
        assert (answer.status_code, errors_of(answer)) == (
            404, {"code": "MANIFEST_UNKNOWN", "message": "manifest unknown", "detail": {}},
        )  # fmt: skip
        blob = oci_registry.push_blob("app", b"content")
        answer = client.delete(f"/v2/app/blobs/{blob.digest}")
        assert (answer.status_code, errors_of(answer)) == (
            405, {"code": "UNSUPPORTED", "message": "The operation is unsupported.", "detail": {}},
        )  # fmt: skip


@profiled("harbor")
def test_harbor_deletes_no_tag(oci_registry: Registry, clients: Clients, client: httpx.Client) -> None:
    image = oci_registry.image("project/app", "v1")
    done = clients.crane("delete", image.reference)
    assert "UNSUPPORTED: unsupported digest v1" in done.stderr
    assert oci_registry.requests[-1].status == 400
    assert errors_of(client.get("/v2/_catalog")) == {
        "code": "UNAUTHORIZED",
        "message": "unauthorized to list catalog: unauthorized to list catalog",
    }
    assert clients.crane("delete", image.by_digest).succeeded


@profiled("gitlab", auth=True)
def test_gitlab_lists_no_repositories(oci_registry: Registry, clients: Clients) -> None:
    oci_registry.image("group/app", "v1")
    clients.sign_in()
    done = clients.crane("catalog", oci_registry.host)
    assert "UNAUTHORIZED" in done.stderr
    assert clients.crane("ls", f"{oci_registry.host}/group/app").lines == ["v1"]


DISTRIBUTION = [
    ("GET", "/v2/team/app/tags/list"),
    ("GET", "/v2/team/app/tags/list?n=1"),
    ("GET", "/v2/team/app/tags/list?n=1&last=v1"),
    ("GET", "/v2/absent/tags/list"),
    ("GET", "/v2/team/app/manifests/absent"),
    ("GET", f"/v2/team/app/blobs/sha256:{'0' * 64}"),
    ("GET", f"/v2/team/app/referrers/sha256:{'0' * 64}"),
    ("GET", "/v2/team/app/nothing"),
    ("DELETE", "/v2/team/app/manifests/{digest}"),
    ("DELETE", "/v2/team/app/manifests/v1"),
    ("DELETE", "/v2/team/app/blobs/{config}"),
]


@profiled("distribution2")
def test_distribution2_is_as_the_real_one(oci_registry: Registry, clients: Clients, tmp_path: Path) -> None:
    """The same requests, also to the program itself, as it is without a configuration for deletions."""
    kind = next(kind for kind in KINDS if kind.program == "distribution2")
    image = oci_registry.image("team/app", "v1")
    oci_registry.push_manifest("team/app", "v2", image.content)
    folder = tmp_path / "distribution"
    folder.mkdir()

    def command(program: Path, folder: Path, port: int) -> list[str]:
        made = kind.command(program, folder, port)
        path = folder / "config.yml"
        path.write_text(path.read_text().replace("delete: {enabled: true}, ", ""))
        return made

    with replace(kind, command=command, authentication="none").start(folder) as real:
        host = urlsplit(real.url).netloc
        for tag in ("v1", "v2"):
            assert clients.crane("copy", image.reference, f"{host}/team/app:{tag}").succeeded
        ours = [_asked(oci_registry.url, method, path, image) for method, path in DISTRIBUTION]
        theirs = [_asked(real.url, method, path, image) for method, path in DISTRIBUTION]
    assert ours == theirs


def _asked(url: str, method: str, path: str, image: Any) -> tuple[str, int, Any]:
    target = path.format(digest=image.digest, config=image.blobs[0].digest)
    with closing(httpx.Client(base_url=url, trust_env=False)) as client:
        answer = client.request(method, target)
    try:
        content = answer.json()
    except ValueError:
        content = answer.text
    if isinstance(content, dict) and "errors" in content:
        # Only the code and the message: details are for people.
        content = [(each["code"], each["message"]) for each in content["errors"]]
    return f"{method} {path}", answer.status_code, content
