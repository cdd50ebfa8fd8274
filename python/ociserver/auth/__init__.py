"""Who is asking, and what they may do: `Handler(backend, auth=Auth(rules, htpasswd="users.htpasswd"))`.

See docs/auth.md.
"""

from ociserver.auth.auth import Auth
from ociserver.auth.credentials import Authenticate
from ociserver.auth.identity import Action, Identity
from ociserver.auth.keys import TokenKeys
from ociserver.auth.rules import Rule, Rules

__all__ = ["Action", "Auth", "Authenticate", "Identity", "Rule", "Rules", "TokenKeys"]
