"""Names, arguments and defaults of all commands, read from click."""

from collections.abc import Iterator
from typing import Any

import click

from tests.golden.content import emotune, search_command

PLAIN = (str, int, float, bool, type(None), list, tuple)


def commands() -> dict[str, Any]:
    """Return every command by its full name, including that of the scripts with a default study."""
    script = search_command("ecg_pretrain")
    return {**dict(walk(emotune, "emotune")), **dict(walk(script, "tune_pretrain.py"))}


def walk(command: click.Command, name: str, *, parent: click.Context | None = None) -> Iterator[tuple[str, Any]]:
    """Yield a command and the commands below it, each with its full name."""
    context = click.Context(command, parent=parent, info_name=name, **command.context_settings)
    yield context.command_path, _command(command, context)
    if isinstance(command, click.Group):
        for child_name in command.list_commands(context):
            child = command.get_command(context, child_name)
            assert child is not None
            yield from walk(child, child_name, parent=context)


def _command(command: click.Command, context: click.Context) -> dict[str, Any]:
    options = {
        parameter.opts[-1]: _option(parameter) for parameter in command.params if isinstance(parameter, click.Option)
    }
    return {
        "arguments": [_argument(parameter) for parameter in command.params if isinstance(parameter, click.Argument)],
        "options": options | _help_option(command, context),
    }


def _help_option(command: click.Command, context: click.Context) -> dict[str, Any]:
    """Return the help option from its names.

    click creates the option when a command is first called, and keeps it. A test that called the command without its
    group would leave an option with the names of a command without a group.
    """
    names = command.get_help_option_names(context)
    return {names[-1]: {"names": names, "flag": True, "type": "boolean", "default": None}}


def _argument(argument: click.Argument) -> dict[str, Any]:
    return {"name": argument.human_readable_name, "required": argument.required, "count": argument.nargs} | _value(
        argument
    )


def _option(option: click.Option) -> dict[str, Any]:
    about = {
        "names": [*option.opts, *option.secondary_opts],
        "required": option.required,
        "flag": option.is_flag,
        "multiple": option.multiple,
        "environment": option.envvar,
    }
    return {key: value for key, value in about.items() if value} | _value(option)


def _value(parameter: click.Parameter) -> dict[str, Any]:
    """Return type, choices and default; null for a default that click or a function provides."""
    kind = parameter.type
    choices = {"choices": list(kind.choices)} if isinstance(kind, click.Choice) else {}
    default = parameter.default if type(parameter.default) in PLAIN else None
    return {"type": kind.name, **choices, "default": default}
