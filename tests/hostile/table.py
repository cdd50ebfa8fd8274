"""Writes docs/hostile-input.md: what was tried, and what it got.

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

DOCUMENT = Path(__file__).parents[2] / "docs" / "hostile-input.md"

_HEAD = """\
# Hostile input

What was tried against the server, and what it got. Written by `python -m tests.hostile.table`; `tests/hostile` sends
all of it again, as bytes over sockets to a granian process, and fails if an answer differs from this table, if one is a
5xx that is not expected, if more than one answer comes back, if the server is gone afterwards, or if its memory has
grown by more than {growth} MiB from one round of everything to the next.

{refused} requests were refused, {taken} look hostile and are allowed. `404 UNKNOWN` and the like are the status and the
code of the handler's answer. "Refused by the HTTP server" never reached the handler: granian answered with a 4xx of its
own or closed the connection. Where the client hangs up in the middle, there may be nobody to answer. The one 507 asks
for more room than the registry in memory has.
"""


def render(outcomes: Mapping[str, Outcome], growth_mib: int) -> str:
    """The whole document."""
    fates = Counter(attempt.fate for attempt in ATTEMPTS)
    taken = fates[Fate.TAKEN]
    lines = [_HEAD.format(refused=len(ATTEMPTS) - taken, taken=taken, growth=growth_mib)]
    for group, attempts in groupby(ATTEMPTS, _group):
        lines += [f"## {group[0].upper()}{group[1:]}", "", "| tried | got |", "| --- | --- |"]
        lines += [f"| {_rest(attempt)} | {_got(attempt, outcomes[attempt.name])} |" for attempt in attempts]
        lines.append("")
    return "\n".join(lines)


def _group(attempt: Attempt) -> str:
    return attempt.name.partition(": ")[0]


def _rest(attempt: Attempt) -> str:
    return attempt.name.partition(": ")[2]


def _got(attempt: Attempt, outcome: Outcome) -> str:
    # Whether the answer is out before the end of the connection is seen is a race.
    return "refused, or dropped with its client" if attempt.hangs_up else str(outcome)


def main() -> None:
    from tests.hostile.server import GROWTH_MIB

    with tempfile.TemporaryDirectory() as folder, hostile_site(Path(folder) / "granian.log") as site:
        DOCUMENT.write_text(render(attack(site), GROWTH_MIB))
    print(DOCUMENT)


if __name__ == "__main__":
    main()
