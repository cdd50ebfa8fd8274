"""Authentication with a registry: Basic, and tokens of Docker's token protocol."""

from ociserver.client.auth.authorization import Authorization, Basic, Fetch, TokenRequest
from ociserver.client.auth.challenges import Challenge, parse_challenges
from ociserver.client.auth.credentials import Credentials, Find
from ociserver.client.auth.docker import CredentialsError, docker_credentials
from ociserver.client.auth.negotiated import Negotiated
from ociserver.client.auth.scopes import Scopes

__all__ = [
    "Authorization",
    "Basic",
    "Challenge",
    "Credentials",
    "CredentialsError",
    "Fetch",
    "Find",
    "Negotiated",
    "Scopes",
    "TokenRequest",
    "docker_credentials",
    "parse_challenges",
]
