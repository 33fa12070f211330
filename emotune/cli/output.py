"""How commands print: answers on stdout, messages on stderr."""

import json
from typing import Any

import click


def print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(document, indent=2, allow_nan=False))


def print_message(message: str) -> None:
    """Print a message on stderr, unwrapped, so that commands and paths in it can be copied."""
    click.echo(message, err=True)


def print_error(message: str) -> None:
    """Print an error on stderr, with control characters replaced: names may come from other people's files."""
    text = "".join(character if character.isprintable() or character == "\n" else "?" for character in message)
    print_message(f"emotune: {text}")
