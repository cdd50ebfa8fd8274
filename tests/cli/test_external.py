"""The commands for stores, with the configuration file of a store in a database and a bucket."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ociserver import Store
from ociserver.cli import main
from ociserver.config import load
from tests.contract.contents import push_blob, push_image
from tests.support.nodes import Place, place

LARGE = bytes(range(256)) * 256
LATER = bytes(range(255)) * 256


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("external")) as found, pytest.MonkeyPatch.context() as patch:
        for name, value in found.environment.items():
            patch.setenv(name, value)
        found.write("[auth]\napi-keys = true\ntoken-keys = ['q8Zk1mN4vR7xT0wY3bF6hJ9sD2gL5pCe']\n")
        yield found


@pytest.fixture
def filled(here: Place) -> Place:
    """With an image that has a large layer, and a blob without a manifest."""

    async def fill() -> None:
        async with store_of(here.folder / "registry.toml") as store:
            await push_image(store, "v1", repository="team/app", layers=(LARGE,))
            await push_blob(store, LATER, "team/app")

    asyncio.run(fill())
    return here


def store_of(file: Path) -> Store:
    (leaf,) = load(file).leaves()
    store = leaf.build()
    assert isinstance(store, Store)
    return store


def run(here: Place, *arguments: str) -> Result:
    """Run a command in this process, with the configuration file."""
    done = CliRunner().invoke(main, [*arguments, "--config", str(here.folder / "registry.toml")])
    assert not [secret for secret in here.secrets if secret in done.output]
    return done


def test_a_check(filled: Place) -> None:
    done = run(filled, "check", "--content")
    assert done.exit_code == 0, done.output
    assert "nothing is wrong" in done.output
    key = next(key for key, size in filled.bucket.objects().items() if size == len(LARGE))
    filled.bucket.path(key).unlink()
    done = run(filled, "check", "--content")
    assert done.exit_code == 4
    assert f"run `ociserver check --config {filled.folder / 'registry.toml'} --content --repair`" in done.output
    assert run(filled, "check", "--repair").exit_code == 3


def test_a_collection_by_the_policy_of_the_file(filled: Place) -> None:
    done = run(filled, "collect", "--json", "--dry-run")
    assert "unreferenced" not in json.loads(done.output)["counts"]
    done = run(filled, "collect", "--json", "--dry-run", "--unreferenced-after", "0s")
    assert json.loads(done.output)["counts"]["unreferenced"] >= 1
    text = (filled.folder / "registry.toml").read_text()
    try:
        filled.write(keys="unreferenced-after = 0")
        done = run(filled, "collect", "--json", "--dry-run")
        assert json.loads(done.output)["counts"]["unreferenced"] >= 1
        done = run(filled, "collect", "--json", "--dry-run", "--unreferenced-after", "1h")
        assert "unreferenced" not in json.loads(done.output)["counts"]
    finally:
        (filled.folder / "registry.toml").write_text(text)


def test_an_api_key(here: Place) -> None:
    made = run(here, "key", "create", "ci", "--repositories", "team/*", "--allow", "pull")
    assert made.exit_code == 0, made.output
    assert "ci" in run(here, "key", "ls").output
    assert run(here, "auth", "explain", "api-key:ci", "pull", "team/app").exit_code == 0
    assert run(here, "key", "revoke", "ci").exit_code == 0


def test_a_deletion(filled: Place) -> None:
    done = run(filled, "delete", "team/app:v1", "--yes")
    assert done.exit_code == 0, done.output
    done = run(filled, "delete", "team/app", "--yes")
    assert "deleted team/app" in done.output
    done = run(filled, "delete", "team/app", "--yes")
    assert done.exit_code == 1
    assert "has no repository team/app" in done.output


def test_a_backup_is_refused_with_what_to_do(here: Place, tmp_path: Path) -> None:
    done = run(here, "backup", str(tmp_path / "backup"))
    assert done.exit_code == 1
    said = " ".join(done.output.split())
    assert f"and {here.bucket.url}/prefix cannot be copied to a folder. Back it up, while it is served, in this" in said
    assert said.index("copy the bucket") < said.index("dump the database, with `pg_dump`") < said.index("bucket again")
    assert not (tmp_path / "backup").exists()


def test_several_stores(here: Place, tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    store = (
        here.table()
        .replace("[registry.objects]", "[registry.backends.objects]")
        .replace("[registry]", "[[registry.backends]]")
    )
    file.write_text(f'[registry]\nkind = "unify"\n{store}\n[[registry.backends]]\nkind = "store"\ndata = "x"\n')
    done = CliRunner().invoke(main, ["check", "--config", str(file)])
    assert done.exit_code == 1
    assert "has several stores: set --store to one of registry.backends[0], registry.backends[1]" in done.output
    done = CliRunner().invoke(main, ["check", "--config", str(file), "--store", "registry.backends[0]"])
    assert "manifest" in done.output, done.output
    done = CliRunner().invoke(main, ["check", "--config", str(file), "--store", "registry"])
    assert "has no store in the table 'registry'" in done.output
    assert CliRunner().invoke(main, ["check", "--store", "registry"]).exit_code == 2


def test_a_check_of_the_connections(here: Place) -> None:
    file = here.folder / "registry.toml"
    before = here.bucket.objects()
    done = CliRunner().invoke(main, ["config", "check", str(file), "--connect"])
    assert done.exit_code == 0, done.output
    assert "registry.database: PostgreSQL " in done.output
    assert f"registry.objects: {here.bucket.url}/prefix can be used" in done.output
    assert here.bucket.objects() == before
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NODE_SECRET", "wrong-secret")
        done = CliRunner().invoke(main, ["config", "check", str(file), "--connect"])
        assert done.exit_code == 1
        assert f"{file}:" in done.stderr
        assert "registry.objects: the registry cannot put an object into" in done.stderr
        told = json.loads(CliRunner().invoke(main, ["config", "check", str(file), "--connect", "--json"]).stdout)
    assert [each["key"] for each in told["mistakes"]] == ["registry.objects"]
    assert len(told["connections"]) == 1


def test_a_folder_whose_contents_are_in_a_bucket(here: Place, tmp_path: Path) -> None:
    """Without the bucket, all contents would seem to be lost, and a repair would make them so."""
    file = tmp_path / "registry.toml"
    table = here.table().replace("/prefix", "/beside")
    file.write_text("".join(line for line in table.splitlines(keepends=True) if "database" not in line))
    file.write_text(file.read_text().replace('kind = "store"', 'kind = "store"\ndata = "data"'))

    async def fill() -> None:
        async with store_of(file) as store:
            await push_image(store, "v1", layers=(LARGE,))

    asyncio.run(fill())
    assert len(LARGE) in here.bucket.objects().values()
    assert CliRunner().invoke(main, ["check", "--config", str(file)]).exit_code == 0
    done = CliRunner().invoke(main, ["check", "--data", str(tmp_path / "data"), "--repair"])
    assert done.exit_code == 1
    assert "are in a bucket: use the configuration file that names it, with --config" in done.output
    with sqlite3.connect(tmp_path / "data" / "registry.db") as database:
        assert database.execute("SELECT count(*) FROM copies WHERE bad").fetchone() == (0,)
    asyncio.run(_made(Store(tmp_path / "files")))
    file.write_text(file.read_text().replace('"data"', '"files"'))
    done = CliRunner().invoke(main, ["check", "--config", str(file)])
    assert "are in files, and not in a bucket" in done.output


async def _made(store: Store) -> None:
    async with store:
        pass
