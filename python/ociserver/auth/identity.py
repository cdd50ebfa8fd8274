"""Who sends a request, and what a token of theirs may be used for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ociserver.auth.actions import ACTIONS, CATALOG, Action, Grants
from ociserver.auth.rights import OwnRights

__all__ = ["ACTIONS", "ANONYMOUS", "CATALOG", "Action", "Grants", "Identity"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sends a request.

    Args:
        name: of the user; "" for a client without credentials.
        groups: the groups that the sign-in names. Groups of the configuration are added by `Rules`.
        via: how the user signed in: `htpasswd`, `oidc`, ...; `anonymous` without credentials. A token keeps the way in
            which it was obtained.
        grants: what the token of the request may be used for. It only narrows what the rules allow. None: the request
            has no token, so everything that the rules allow.
        expires: time (`time.time`) after which the credentials must not be used. None: unlimited.
        claims: of the identity provider, for rules about them.
        own: its own rights, which count instead of all rules. None: it has the rights that the rules give it.
        issued_here: the token of the request is from our token endpoint, which gives the client another one for all
            that the rules allow.
    """

    name: str
    groups: frozenset[str] = frozenset()
    via: str = ""
    grants: Grants | None = None
    expires: float | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)
    own: OwnRights | None = None
    issued_here: bool = False

    @property
    def is_anonymous(self) -> bool:
        """Whether the client sent no credentials, or a token that was given without any."""
        return not self.name

    def answers_to(self, account: str) -> bool:
        """Whether a client may give a name as its account: its own, or the one that it sent with its password.

        A client of an identity provider sends the name of the provider, with which its name begins, and one with an API
        key the name of the key, with which its name ends.
        """
        provider, _, name = self.name.partition(":")
        sent = {"oidc": provider, "api-key": name}.get(self.via, self.name)
        return account in (self.name, sent)

    def permits(self, action: Action, repository: str) -> bool:
        """Whether the token of the request may be used for this. The rules decide too, see `Rules.allows`.

        A token for `push` may be used to create.
        """
        if self.grants is None:
            return True
        return ("push" if action == "create" else action) in self.grants.get(repository, ())


ANONYMOUS: Final = Identity("", via="anonymous")
"""A client that sent no credentials."""
