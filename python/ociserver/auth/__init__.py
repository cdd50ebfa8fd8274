"""Who is asking, and what they may do: `Handler(backend, auth=Auth(rules, htpasswd="users.htpasswd"))`.

See docs/auth.md.
"""

from ociserver.api_keys import ApiKey
from ociserver.auth.auth import Auth
from ociserver.auth.credentials import Authenticate
from ociserver.auth.fetching import Fetch
from ociserver.auth.identity import Action, Identity
from ociserver.auth.jwks import DiscoveredJwks, JwksFile, JwksUrl
from ociserver.auth.key_accounts import new_api_key
from ociserver.auth.keys import TokenKeys
from ociserver.auth.oidc import OidcProvider
from ociserver.auth.rules import Rule, Rules
from ociserver.auth.token_server import TokenServer

__all__ = [
    "Action",
    "ApiKey",
    "Auth",
    "Authenticate",
    "DiscoveredJwks",
    "Fetch",
    "Identity",
    "JwksFile",
    "JwksUrl",
    "OidcProvider",
    "Rule",
    "Rules",
    "TokenKeys",
    "TokenServer",
    "new_api_key",
]
