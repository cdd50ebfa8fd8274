"""How the client signs in to registries: by password, and by tokens that the registry verifies."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ociserver.client import Client, Credentials, docker_credentials
from tests.client.conftest import HURRIED
from tests.contract.contents import push_image
from tests.contract.errors import refused
from tests.registries.kinds import KINDS, Running

pytestmark = pytest.mark.anyio

ASKING = [kind for kind in KINDS if kind.authentication != "none"]
WITH_TOKENS = [kind for kind in ASKING if kind.authentication != "htpasswd"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", params=ASKING, ids=lambda kind: kind.name)
def asking(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with request.param.start(tmp_path_factory.mktemp("asking")) as running:
        yield running


@pytest.fixture(scope="module", params=WITH_TOKENS, ids=lambda kind: kind.name)
def with_tokens(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    # Less than the margin before its end in which the client no longer uses a token.
    with request.param.start(tmp_path_factory.mktemp("tokens"), token_lifetime_s=2) as running:
        yield running


def client_of(registry: Running, credentials: Credentials | None) -> Client:
    return Client(registry.url, credentials=credentials, retries=HURRIED)


@pytest.mark.parametrize(
    "credentials", [None, Credentials("user", "wrong"), Credentials("nobody", "password")], ids=str
)
async def test_other_users_are_refused(asking: Running, credentials: Credentials | None) -> None:
    async with client_of(asking, credentials) as client:
        with refused("UNAUTHORIZED"):
            await push_image(client, "latest")
        with refused("UNAUTHORIZED"):
            await client.get_tag("group/project", "latest")


async def test_credentials_of_docker_login(asking: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    auth = {"auth": base64.b64encode(b"user:password").decode()}
    (tmp_path / "config.json").write_text(json.dumps({"auths": {asking.url.removeprefix("http://"): auth}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    async with Client(asking.url, credentials=docker_credentials, retries=HURRIED) as client:
        content = await push_image(client, "latest", repository="login")
        assert (await client.get_tag("login", "latest")).content == content


async def test_a_token_has_the_scope_of_the_request(with_tokens: Running) -> None:
    tokens = with_tokens.tokens
    assert tokens
    tokens.asked.clear()
    async with client_of(with_tokens, Credentials("user", "password")) as client:
        await push_image(client, "latest", repository="scopes")
        await client.delete_manifest("scopes", (await client.resolve_tag("scopes", "latest")).digest)
        assert [name async for name in client.repositories()]
    # The client requests short-lived tokens again each time, and never with more scope than the request needs.
    assert {user for user, _ in tokens.asked} == {"user"}
    asked = {entry for _, scopes in tokens.asked for entry in scopes}
    assert asked == {
        "repository:scopes:pull,push",
        "repository:scopes:pull",
        "repository:scopes:delete",
        "registry:catalog:*",
    }


async def test_a_user_who_may_only_pull(with_tokens: Running) -> None:
    async with client_of(with_tokens, Credentials("user", "password")) as client:
        content = await push_image(client, "latest", repository="reading")
    async with client_of(with_tokens, Credentials("reader", "password")) as client:
        assert (await client.get_tag("reading", "latest")).content == content
        with refused("UNAUTHORIZED", "DENIED"):
            await push_image(client, "latest", repository="reading")
        # A refused push does not prevent a pull.
        assert (await client.get_tag("reading", "latest")).content == content
