"""Stores in a database and a bucket, as the file describes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ociserver.config import ConfigError, load_to_build, parse
from ociserver.store.external import External
from ociserver.store.postgres import PostgreSQL

STORE = '[registry]\nkind = "store"\ndatabase = "postgresql://a:hidden@b:1,c/d?password=hidden"\n'
BUCKET = 'objects = { url = "s3://e/f" }\n'
USERS = '[auth.htpasswd]\nfile = "x"\n[[auth.rules]]\nauthenticated = true\nrepositories = ["*"]\nallow = ["pull"]\n'


def external_of(text: str) -> External:
    (leaf,) = parse(text, Path("registry.toml")).leaves()
    assert leaf.kind == "store"
    assert leaf.external is not None
    return leaf.external


def test_what_a_bucket_gets() -> None:
    external = external_of(
        f"{STORE}[registry.objects]\n"
        'url = "s3://e/f"\nendpoint = "http://s3.example"\nregion = "eu-1"\naccess-key-id = "id"\n'
        'secret-access-key = "hidden"\noptions = { virtual-hosted-style-request = "true" }\nredirect = true\n'
        'public-endpoint = "https://cdn.example"\nleast-redirected = "4MiB"\nurl-lifetime = "5m"\ndelete-after = 600\n'
        'part-size = "16MiB"\nparts-in-flight = 8\nretry = "1m"\n'
    )
    objects = external.objects
    assert objects.url == "s3://e/f"
    assert dict(objects.options) == {
        "virtual_hosted_style_request": "true",
        "endpoint": "http://s3.example",
        "region": "eu-1",
        "access_key_id": "id",
        "secret_access_key": "hidden",
    }
    assert (objects.redirect, objects.public_endpoint) == (True, "https://cdn.example")
    assert (objects.least_redirected, objects.part_size) == (4 << 20, 16 << 20)
    assert (objects.url_lifetime_s, objects.delete_after_s, objects.retry_s) == (300, 600, 60)
    assert objects.parts_in_flight == 8


def test_what_a_database_gets() -> None:
    keys = 'database-password = "hidden"\ndatabase-connections = 3\ndatabase-pooled = true\ncache-manifests = "0s"\n'
    database = external_of(f"{STORE}{keys}{BUCKET}").database
    assert database is not None
    assert (database.password, database.max_connections, database.is_pooled) == ("hidden", 3, True)
    assert database.cache_manifests_s == 0
    made = database.made()
    assert isinstance(made, PostgreSQL)
    assert made.cache_manifests_s == 0


def test_no_secret_is_shown() -> None:
    text = (
        f'{STORE}database-password = "hidden"\nobjects = {{ url = "s3://e/f", access-key-id = "hidden", '
        'secret-access-key = "hidden", options = { token = "hidden" } }'
    )
    config = parse(text, Path("registry.toml"))
    external = external_of(text)
    assert "hidden" not in f"{config!r} {external!r} {external.name}"
    assert external.name == "postgresql://b:1,c/d and s3://e/f"


@pytest.mark.parametrize(
    "keys, words",
    [
        ('url-lifetime = "30m"', "objects must exist for longer after their deletion (1800 s) than a signed URL"),
        ('part-size = "4MiB"', "`part-size` must be 5 MiB or more"),
    ],
)
def test_a_bucket_that_would_lose_something(keys: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f'[registry]\nkind = "store"\n[registry.objects]\nurl = "s3://e"\n{keys}\n', Path("registry.toml"))
    (problem,) = caught.value.problems
    assert (problem.line, problem.key) == (3, "registry.objects")
    assert words in problem.text


@pytest.mark.parametrize(
    "text, line, key, words",
    [
        (f"{USERS}{STORE}{BUCKET}", 1, "auth", "has no token-keys: the registry is in a database"),
    ],
)
def test_a_file_that_no_server_can_serve(text: str, line: int, key: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_to_build(file)
    (problem,) = caught.value.problems
    assert (problem.line, problem.key) == (line, key)
    assert words in problem.text


def test_keys_of_tokens_are_only_needed_without_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text(f'{USERS}[registry]\nkind = "store"\ndata = "x"\n{BUCKET}')
    load_to_build(file)
    file.write_text(f'[auth]\ntoken-keys = ["q8Zk1mN4vR7xT0wY3bF6hJ9sD2gL5pCe"]\n{USERS}{STORE}{BUCKET}')
    load_to_build(file)
