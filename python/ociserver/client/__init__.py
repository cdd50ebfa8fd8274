"""A remote registry, as a backend. Needs the extra `client`: `pip install 'ociserver[client]'`.

For example:

    async with ociserver.client.Client("https://registry.example") as registry:
        manifest = await registry.get_tag("group/project", "latest")
"""

from ociserver.client.auth import (
    Authorization,
    Basic,
    Challenge,
    Credentials,
    CredentialsError,
    Negotiated,
    docker_credentials,
)
from ociserver.client.backend import Client
from ociserver.client.limits import Limits
from ociserver.client.requests import InvalidAnswerError, RetryPolicy, UnreachableError, UntrustedError

__all__ = [
    "Authorization",
    "Basic",
    "Challenge",
    "Client",
    "Credentials",
    "CredentialsError",
    "InvalidAnswerError",
    "Limits",
    "Negotiated",
    "RetryPolicy",
    "UnreachableError",
    "UntrustedError",
    "docker_credentials",
]
