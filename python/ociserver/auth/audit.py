"""The audit log: who signed in, was refused, got a token, pushed or deleted, and which API keys were made or revoked.

Each entry is one record at level info of the logger `ociserver.audit`. Its message is one JSON object, and
`record.fields` has the same facts. No entry has a password or a token.
"""

from __future__ import annotations

import json
import logging
from typing import Any, Final

__all__ = ["record"]

_log: Final = logging.getLogger("ociserver.audit")


def record(event: str, **facts: Any) -> None:
    """Write an entry. Facts that are None or "" are left out.

    Args:
        event: `sign-in`, `sign-in-refused`, `token`, `token-refused`, `denied`, `push`, `delete`,
            `key-created` or `key-revoked`.
        facts: JSON values, under their names.
    """
    if not _log.isEnabledFor(logging.INFO):
        return
    fields = {"event": event, **{name: fact for name, fact in facts.items() if fact not in (None, "")}}
    _log.info("%s", json.dumps(fields), extra={"fields": fields})
