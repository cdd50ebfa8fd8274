"""The flags of the handler's options: all options have one with a text, and each flag sets its field."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, get_args, get_origin, get_type_hints

import click
import pytest

from ociserver import Options
from ociserver.cli.options import flags, options_from
from ociserver.cli.parameters import Option, environment_variable

FLAGS: dict[str, Option] = {flag.name: flag for flag in flags() if isinstance(flag, Option) and flag.name}
DEFAULTS = {field.name: field.default for field in dataclasses.fields(Options)}
OTHERS: dict[type, Any] = {bool: True, int: 7, str: "text"}
NETWORKS: dict[str, Any] = {"redirect_except": "10.0.0.0/8"}


def is_callable(annotation: Any) -> bool:
    origin = get_origin(annotation)
    return origin is Callable or any(is_callable(each) for each in get_args(annotation) if origin is not None)


def test_every_option_that_is_not_a_callable_is_a_flag() -> None:
    types = get_type_hints(Options)
    plain = {field.name for field in dataclasses.fields(Options) if not is_callable(types[field.name])}
    assert plain, "there are such options"
    assert set(FLAGS) == plain
    assert len(flags()) == len(FLAGS)


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_is_named_and_explained(name: str) -> None:
    flag = FLAGS[name]
    assert flag.opts == [f"--{name.replace('_', '-')}"]
    assert flag.envvar == f"OCISERVER_{name.upper()}" == environment_variable(flag.opts[0])
    assert flag.help
    assert len(flag.help) > 20, "the docstring of Options says something about it"
    assert "`" not in flag.help


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_sets_its_field_and_no_other(name: str) -> None:
    other = NETWORKS.get(name) or OTHERS[get_type_hints(Options)[name]]
    arguments = FLAGS[name].opts if other is True else [*FLAGS[name].opts, str(other)]
    with click.Command("serve", params=flags()).make_context("serve", [*arguments]) as context:
        assert options_from(context.params) == dataclasses.replace(Options(), **{name: other})


def test_no_flags_are_the_defaults() -> None:
    with click.Command("serve", params=flags()).make_context("serve", []) as context:
        assert options_from(context.params) == Options()


def test_a_value_that_options_refuses_is_a_usage_error_with_the_flag() -> None:
    values = {name: DEFAULTS[name] for name in FLAGS} | {"max_list_page_size": -1}
    with pytest.raises(click.UsageError, match="--max-list-page-size is -1"):
        options_from(values)
