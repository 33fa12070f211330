"""Names, arguments and defaults of all commands, read from click."""

from collections.abc import Iterator
from typing import Any

import click

from tests.golden.content import emotune, search_command

PLAIN = (str, int, float, bool, type(None), list, tuple)


def commands() -> dict[str, Any]:
    """Return every command by its full name, including that of the scripts with a default study."""
    script = search_command("ecg_pretrain")
    return {**dict(_walk(emotune, "emotune")), **dict(_walk(script, "tune_pretrain.py"))}


def _walk(command: click.Command, name: str, *, parent: click.Context | None = None) -> Iterator[tuple[str, Any]]:
    context = click.Context(command, parent=parent, info_name=name, **command.context_settings)
    yield context.command_path, _command(command, context)
    if isinstance(command, click.Group):
        for child_name in command.list_commands(context):
            child = command.get_command(context, child_name)
            assert child is not None
            yield from _walk(child, child_name, parent=context)


def _command(command: click.Command, context: click.Context) -> dict[str, Any]:
    parameters = command.get_params(context)
    return {
        "arguments": [_argument(parameter) for parameter in parameters if isinstance(parameter, click.Argument)],
        "options": {
            parameter.opts[-1]: _option(parameter) for parameter in parameters if isinstance(parameter, click.Option)
        },
    }


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
