"""What can be allowed: the actions of rules, and the grants of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

__all__ = ["ACTIONS", "CATALOG", "Action", "Grants"]

Action = Literal["pull", "push", "create", "delete"]
"""What a rule may allow. `push` includes `create`, which is a push that never moves a tag that exists."""

ACTIONS: Final[tuple[Action, ...]] = get_args(Action)

CATALOG: Final = "*"
"""The key of the list of repositories in `Grants`. No repository has this name."""

Grants = Mapping[str, frozenset[str]]
"""What a token may be used for: by repository, the actions `pull`, `push` and `delete` of its scopes. For the list of
repositories the key is `CATALOG`. The value there does not matter."""
