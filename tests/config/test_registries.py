"""The backends are those that the file describes: each kind in front of each other kind, with its keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ociserver import Backend, Handler, Memory
from ociserver.config import ConfigError, load, load_to_build, parse
from ociserver.settings import UPLOAD_KEY_VARIABLE
from tests.client.scripted import Reply, scripted
from tests.contract.contents import collect, digest_of, push_blob, push_image, push_manifest, read_blob, tags_of
from tests.contract.errors import refused
from tests.serving.uvicorn_here import serve_here

pytestmark = pytest.mark.anyio

WRAPPERS = {
    "read-only": "",
    "immutable": "",
    "select": 'exclude = ["hidden/*"]',
    "sub": 'prefix = "a"',
    "debug": "",
    "cache": 'upstream = { kind = "memory" }',
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def backend_of(text: str, folder: Path = Path()) -> Backend:
    return parse(text, folder / "registry.toml").backend()


@pytest.fixture
async def elsewhere() -> AsyncIterator[str]:
    """A separate registry for each `client`."""
    async with serve_here(Handler(Memory(lax_child_references=True))) as site:
        yield site.url


@pytest.mark.parametrize("outer", [*WRAPPERS, "unify"])
@pytest.mark.parametrize("inner", [*WRAPPERS, "unify", "store", "memory", "client"])
async def test_each_kind_in_front_of_each(outer: str, inner: str, tmp_path: Path, elsewhere: str) -> None:
    number = 0

    def described(kind: str, *behind: str) -> str:
        nonlocal number
        number += 1
        if kind == "unify":
            return f'{{ kind = "unify", backends = [{behind[0]}, {{ kind = "memory" }}] }}'
        if kind in WRAPPERS:
            keys = f", {WRAPPERS[kind]}" if WRAPPERS[kind] else ""
            key = "local" if kind == "cache" else "backend"
            return f'{{ kind = "{kind}"{keys}, {key} = {behind[0]} }}'
        if kind == "client":
            return f'{{ kind = "client", url = "{elsewhere}" }}'
        return f'{{ kind = "{kind}" }}' if kind == "memory" else f'{{ kind = "store", data = "store-{number}" }}'

    within = described(inner) if inner in ("store", "memory", "client") else described(inner, '{ kind = "memory" }')
    async with backend_of(f"registry = {described(outer, within)}", tmp_path) as backend:
        assert await collect(backend.repositories()) == []
        if "read-only" in (outer, inner):
            with refused("UNSUPPORTED"):
                await push_blob(backend, b"text", "b")
            return
        await push_blob(backend, b"text", "b")
        assert await read_blob(backend, digest_of(b"text"), repository="b") == b"text"
        assert await collect(backend.repositories()) == ["b"]


async def test_the_keys_of_a_store(tmp_path: Path) -> None:
    (tmp_path / "registry.toml").write_text(
        '[registry]\nkind = "store"\ndata = "data"\nimmutable-tags = true\nlax-child-references = true'
    )
    async with load(tmp_path / "registry.toml").backend() as backend:
        await push_manifest(backend, b"one", "text/plain", "latest")
        with refused("DENIED"):
            await push_manifest(backend, b"two", "text/plain", "latest")
    # Relative to the file, not to the working directory.
    assert (tmp_path / "data" / "registry.db").exists()


async def test_the_keys_of_memory() -> None:
    backend = backend_of('[registry]\nkind = "memory"\nmemory-limit = "1KiB"\nimmutable-tags = true')
    with refused("UNKNOWN") as caught:
        await push_blob(backend, bytes(2000))
    assert caught.value.status == 507


@pytest.mark.parametrize(
    "keys, shown",
    [
        ("", ["a", "b/c", "b/c/d", "e"]),
        ('include = ["b/*"]', ["b/c", "b/c/d"]),
        ('include = ["a", "e"]', ["a", "e"]),
        ('exclude = ["b/*"]', ["a", "e"]),
        ('include = ["b/*", "e"]\nexclude = ["*/d"]', ["b/c", "e"]),
        ('include = ["?"]', ["a", "e"]),
    ],
)
async def test_the_keys_of_select(keys: str, shown: list[str]) -> None:
    config = parse(f'[registry]\nkind = "select"\n{keys}\nbackend = {{ kind = "memory" }}', Path("registry.toml"))
    (leaf,) = config.leaves()
    inner = leaf.build()
    for name in ("a", "b/c", "b/c/d", "e"):
        await push_blob(inner, b"text", name)
    assert await collect(config.backend(lambda _: inner).repositories()) == shown


async def test_the_keys_of_unify() -> None:
    config = parse(
        '[registry]\nkind = "unify"\nwrites = "first"\nbackends = [{ kind = "memory" }, { kind = "memory" }]',
        Path("registry.toml"),
    )
    inner = [leaf.build() for leaf in config.leaves()]
    left = iter(inner)
    backend = config.backend(lambda _: next(left))
    await push_image(inner[1], "theirs")
    await push_image(backend, "mine")
    assert await tags_of(backend) == ["mine", "theirs"]
    assert [await tags_of(each) for each in inner] == [["mine"], ["theirs"]]


async def test_the_keys_of_cache() -> None:
    config = parse(
        '[registry]\nkind = "cache"\nlocal-repositories = ["team/*"]\nlocal = { kind = "memory" }\n'
        'hosts = { "docker.io" = { kind = "memory" } }\nupstream = { kind = "memory" }',
        Path("registry.toml"),
    )
    inner = [leaf.build() for leaf in config.leaves()]
    left = iter(inner)
    async with config.backend(lambda _: next(left)) as backend:
        await push_image(inner[1], "theirs", repository="app")
        await push_image(inner[2], "others", repository="app")
        assert await tags_of(backend, "docker.io/app") == ["theirs"]
        assert await tags_of(backend, "app") == ["others"]
        # Without its blobs, which no client has requested.
        assert (await backend.get_tag("app", "others")) == await inner[2].get_tag("app", "others")
        await push_blob(backend, b"text", "team/app")
        with refused("DENIED"):
            await push_blob(backend, b"text", "app")


def test_a_file_with_nothing_to_build() -> None:
    with pytest.raises(ValueError, match="neither `upstream` nor `hosts`"):
        backend_of('[registry]\nkind = "cache"\nlocal = { kind = "memory" }')
    with pytest.raises(ValueError, match=r"has no \[registry\]"):
        backend_of("")
    with pytest.raises(ValueError, match="the store has no `data`"):
        backend_of('[registry]\nkind = "store"')


@pytest.mark.parametrize(
    "text, line, key, words",
    [
        (
            '[registry]\nkind = "cache"\nlocal = { kind = "memory" }',
            1,
            "registry",
            "neither `upstream` nor `hosts`",
        ),
        (
            (
                '[registry]\nkind = "cache"\nlocal = { kind = "memory" }\n[registry.hosts."docker.io"]\n'
                'kind = "client"\nurl = "https://a.example"\nusername = "us:er"\npassword = "secret"'
            ),
            4,
            "registry.hosts.docker.io",
            "a user name for Basic authentication must not contain a colon",
        ),
        (
            (
                '[registry]\nkind = "unify"\n[[registry.backends]]\nkind = "memory"\n[[registry.backends]]\n'
                'kind = "cache"\nlocal = { kind = "memory" }'
            ),
            5,
            "registry.backends[1]",
            "neither `upstream` nor `hosts`",
        ),
    ],
)
def test_a_correct_file_that_cannot_be_built(text: str, line: int, key: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text(text)
    load(file)
    with pytest.raises(ConfigError) as caught:
        load_to_build(file)
    (problem,) = caught.value.problems
    assert (problem.line, problem.key) == (line, key)
    assert words in problem.text
    assert "secret" not in problem.text


async def test_any_worker_continues_an_upload_to_a_remote_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the remote registry has its own locations for uploads. Each worker and each reload makes a new client."""
    async with scripted() as registry:
        text = f'registry = {{ kind = "client", url = "{registry.url}" }}'
        monkeypatch.setenv(UPLOAD_KEY_VARIABLE, "00" * 32)
        async with backend_of(text) as first, backend_of(text) as second:
            registry.will(Reply(202, {"Location": "/elsewhere/1"}), Reply(204, {"Range": "0-9"}))
            upload_id = (await first.push_blob_chunked("group/project")).id
            resumed = await second.push_blob_chunked_resume("group/project", upload_id, offset=None)
            assert resumed.size == 10
        monkeypatch.delenv(UPLOAD_KEY_VARIABLE)
        async with backend_of(text) as stranger:
            with refused("BLOB_UPLOAD_UNKNOWN"):
                await stranger.push_blob_chunked_resume("group/project", upload_id, offset=None)


def test_values_from_the_environment_and_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_HOST", "registry.example")
    (tmp_path / "name").write_text("mine\n")
    text = '[server]\nhost = { env = "REGISTRY_HOST" }\n[options]\ndebug-id = { file = "name" }'
    config = parse(text, tmp_path / "registry.toml")
    assert (config.server.host, config.options.debug_id) == ("registry.example", "mine")
    monkeypatch.delenv("REGISTRY_HOST")
    (tmp_path / "name").unlink()
    with pytest.raises(ConfigError) as caught:
        parse(text, tmp_path / "registry.toml")
    assert [(each.line, each.key) for each in caught.value.problems] == [(2, "server.host"), (4, "options.debug-id")]
    assert "the environment variable REGISTRY_HOST is not set" in str(caught.value)
    assert f"the file {tmp_path / 'name'} cannot be read" in str(caught.value)


def test_a_path_has_no_nul(tmp_path: Path) -> None:
    text = (
        'registry = { kind = "store", data = "a\\u0000b" }\n'
        '[server]\ntls-cert = "a\\u0000b"\ntls-key = { file = "a\\u0000b" }'
    )
    with pytest.raises(ConfigError) as caught:
        parse(text, tmp_path / "registry.toml")
    assert [each.line for each in caught.value.problems] == [1, 3, 4]
    assert {each.text for each in caught.value.problems} == {"must be a path, which has no NUL characters"}


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no-such.toml:1: cannot be read: No such file or directory"):
        load(tmp_path / "no-such.toml")


@pytest.mark.parametrize(
    "registry, words",
    [
        ('kind = "memory"', "there is none"),
        ('kind = "unify"\nbackends = [{ kind = "store", data = "a" }, { kind = "store", data = "b" }]', "there are 2"),
    ],
)
def test_api_keys_need_one_store(registry: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text(f"[auth]\napi-keys = true\n[registry]\n{registry}\n")
    with pytest.raises(ConfigError) as caught:
        load_to_build(file)
    (problem,) = caught.value.problems
    assert (problem.line, problem.key) == (2, "auth.api-keys")
    assert words in problem.text
