"""`ociserver serve --profile`: a registry that behaves as another one, for tests in any language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ociserver.testing.profiles.application import Profiled

__all__ = ["profiled", "refuse_profile"]


def refuse_profile(values: dict[str, Any]) -> None:
    """Refuse a profile together with a configuration file.

    Raises:
        click.UsageError: both are given.
    """
    if values["profile"] is not None and values["config"] is not None:
        raise click.UsageError(
            f"--profile {values['profile']} cannot be used with --config. A profile is for tests: use it with --memory."
        )


def profiled(name: str, arguments: dict[str, Any]) -> Profiled:
    """The application of a profile.

    Args:
        name: of the profile.
        arguments: of the handler.
    """
    # Imported late: servers without a profile do not need it.
    from ociserver.testing.profiles import profile_named
    from ociserver.testing.profiles.application import Profiled

    # Nobody could create a repository in this process, so a push does.
    return Profiled(profile_named(name), creates=True, **arguments)
