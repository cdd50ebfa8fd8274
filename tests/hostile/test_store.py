"""The same attempts over the store: no text of a request becomes a file name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.contract.folders import fresh_folder
from tests.hostile.attempt import Fate
from tests.hostile.client import send
from tests.hostile.every import ATTEMPTS
from tests.hostile.server import hostile_site
from tests.hostile.store_application import FOLDER

# Names that the store makes: files of the database, its folders, keys of copies.
OWN_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*", re.ASCII)


def test_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fresh_folder() as folder:
        data = Path(folder) / "data"
        monkeypatch.setenv(FOLDER, str(data))
        with hostile_site(tmp_path / "log", "tests.hostile.store_application:application", "--factory") as site:
            # Without the attempts that announce too much: this store may use the whole disk.
            attempts = [attempt for attempt in ATTEMPTS if attempt.fate is not Fate.FULL]
            outcomes = {attempt: send(site, attempt) for attempt in attempts}
        files = [path.relative_to(folder) for path in Path(folder).rglob("*")]
    wrong = {
        attempt.name: str(outcome)
        for attempt, outcome in outcomes.items()
        if (attempt.fate is Fate.REFUSED and not outcome.is_coded)
        or (attempt.fate is Fate.STOPPED and not outcome.is_refused)
        or (attempt.fate is Fate.TAKEN and not 200 <= outcome.status < 300)
        or outcome.answers > 1
    }
    assert wrong == {}
    assert {path.parts[0] for path in files} == {"data"}
    names = {part for path in files for part in path.parts}
    assert [name for name in names if not OWN_NAME.fullmatch(name)] == []
    assert "Traceback" not in (tmp_path / "log").read_text(errors="replace")
