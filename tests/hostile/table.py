"""Writes tests/hostile/inputs.md, the table of all attempts and their answers.

python -m tests.hostile.table
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

from tests.hostile.attempt import Attempt, Fate
from tests.hostile.client import Outcome
from tests.hostile.every import ATTEMPTS
from tests.hostile.server import attack, hostile_site

DOCUMENT = Path(__file__).with_name("inputs.md")

_HEAD = """\
# Hostile input

Each row is one hostile request and the answer of the server. `python -m tests.hostile.table` writes this file. The
tests in `tests/hostile` send every request again, as bytes over a socket to a granian process. They fail if:

- an answer differs from this table, or a request gets more than one answer;
- an answer is a 5xx, except the one 507 for a request that needs more room than the memory backend has;
- the server does not run afterwards;
- its memory grows by more than {growth} MiB from one round of all requests to the next.

The server refused {refused} requests. The other {taken} look hostile, but are allowed. An entry such as `404 UNKNOWN`
is the status and the error code of the handler. "Refused by the HTTP server" means that granian answered with a 4xx or
closed the connection, and the handler never saw the request. If the client disconnects early, it may get no answer.
"""


def render(outcomes: Mapping[str, Outcome], growth_mib: int) -> str:
    """The whole document."""
    fates = Counter(attempt.fate for attempt in ATTEMPTS)
    taken = fates[Fate.TAKEN]
    lines = [_HEAD.format(refused=len(ATTEMPTS) - taken, taken=taken, growth=growth_mib)]
    for group, attempts in groupby(ATTEMPTS, _group):
        lines += [f"## {group[0].upper()}{group[1:]}", "", "| request | answer |", "| --- | --- |"]
        lines += [f"| {_rest(attempt)} | {_got(attempt, outcomes[attempt.name])} |" for attempt in attempts]
        lines.append("")
    return "\n".join(lines)


def _group(attempt: Attempt) -> str:
    return attempt.name.partition(": ")[0]


def _rest(attempt: Attempt) -> str:
    return attempt.name.partition(": ")[2]


def _got(attempt: Attempt, outcome: Outcome) -> str:
    # Whether the server answers before it sees the end of the connection is a race.
    return "refused, or dropped when the client disconnected" if attempt.hangs_up else str(outcome)


def main() -> None:
    from tests.hostile.server import GROWTH_MIB

    with tempfile.TemporaryDirectory() as folder, hostile_site(Path(folder) / "granian.log") as site:
        DOCUMENT.write_text(render(attack(site), GROWTH_MIB))
    print(DOCUMENT)


if __name__ == "__main__":
    main()
