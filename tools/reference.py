"""Generate the reference pages of the documentation from the program: every setting and every command.

MkDocs calls `on_files` at each build (``hooks`` in ``mkdocs.yml``), so that the pages are never written by hand.

    python -m tools.reference    # print both pages
"""

import inspect
import re
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
from mkdocs.structure.files import File
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from emotune.cli import emotune
from emotune.data.corpora.table import CORPORA
from emotune.data.prepare.segments import PrepareSettings
from emotune.search.settings import SEARCHERS, SearchSettings
from emotune.study.definition import ELSEWHERE, SearchDefinition
from emotune.study.study import Study
from emotune.study.trainable_study import TrainableStudy

NAMES: dict[Any, str] = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "null"}
"""Names of plain types."""

LIMITS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
"""Signs of pydantic's limits."""


ROOT = Path(__file__).parents[1]

COPIED = {"benchmarks.md": "benchmarks/README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
"""Pages of the site that are files elsewhere in the project."""


@dataclass(frozen=True)
class Section:
    """A heading of the page of settings, and the class whose fields stand below it."""

    title: str
    prefix: str
    settings: type[BaseModel]
    left_out: frozenset[str] = frozenset()


def setting_sections() -> Iterator[Section]:
    """Yield the sections of the page of settings, in the order of the page; a class that several tasks have, once."""
    yield from dict.fromkeys(_all_sections())


def _all_sections() -> Iterator[Section]:
    yield from walk(Study, prefix="", title="Study")
    shared = frozenset(SearchDefinition.model_fields)
    yield Section("Study of a trainable", "", TrainableStudy, left_out=shared)
    yield Section("`searcher`", "searcher.", SearchSettings, left_out=frozenset(ELSEWHERE))
    yield from walk(PrepareSettings, prefix="", title="Preparation (`emotune data prepare --set`)")
    for name, reader in CORPORA.items():
        if reader.settings.model_fields:
            yield from walk(reader.settings, prefix="", title=f"Corpus `{name}`")


def walk(settings: type[BaseModel], *, prefix: str, title: str) -> Iterator[Section]:
    """Yield a section of a class of settings, and one of each class inside it."""
    yield Section(title, prefix, settings)
    for name, field in settings.model_fields.items():
        kinds = list(settings_inside(field.annotation))
        for kind in kinds:
            variant = kind.model_fields.get("kind")
            label = f" with `kind: {variant.default}`" if variant is not None and len(kinds) > 1 else ""
            yield from walk(kind, prefix=f"{prefix}{name}.", title=f"`{prefix}{name}`{label}")


def settings_inside(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the classes of settings in a type, for example the members of a union."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for part in typing.get_args(annotation):
        yield from settings_inside(part)


def type_name(annotation: Any) -> str:
    """Return a type in words, for example ``whole number or null``."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_name(parts[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in parts)
    if origin in {typing.Union, types.UnionType}:
        return " or ".join(dict.fromkeys(map(type_name, parts)))
    if origin in {tuple, list}:
        kinds = [type_name(part) for part in parts if part is not Ellipsis]
        return f"list: {', '.join(dict.fromkeys(kinds))}"
    return NAMES.get(annotation, "a section")


def limits(field: FieldInfo) -> str:
    """Return the limits of a setting, for example ``≥ 1, ≤ 48``."""
    pairs = ((sign, getattr(part, name, None)) for part in field.metadata for name, sign in LIMITS.items())
    return ", ".join(f"{sign} {value:g}" for sign, value in pairs if value is not None)


def default(field: FieldInfo) -> str:
    """Return the default of a setting as it stands in YAML."""
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return "see its section"
    if isinstance(value, tuple | list):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, bool) or value is None:
        return f"`{str(value).lower()}`" if value is not None else "`null`"
    if isinstance(value, dict):
        return "`{" + ", ".join(f"{key}: {item}" for key, item in value.items()) + "}`"
    return f"`{value}`" if value != "" else "empty"


def sentence(field: FieldInfo) -> str:
    """Return the sentence of a setting, in Markdown."""
    return " ".join((field.description or "").split()).replace("``", "`")


def settings_page() -> str:
    """Return the page of all settings."""
    lines = [
        "# Settings",
        "",
        "All settings of studies, experiments, preparation and corpora. This page is generated from the program.",
        "In a study the settings of an experiment stand below `base`; on the command line give them as",
        "`--set base.optim.lr=1e-3` (search) or `--set optim.lr=1e-3` (pretrain, finetune, crossval).",
        "An experiment file (`emotune best NAME --out experiment.yaml`) has the settings of `base` without the prefix.",
    ]
    for section in setting_sections():
        lines += ["", f"## {section.title}", ""]
        lines += [first_paragraph(section.settings), ""] if first_paragraph(section.settings) else []
        if section.settings is SearchSettings:
            lines += ["The settings beside `kind`, `bohb` by default:", ""]
            lines += [f"- `kind: {name}`: {searcher.sentence}." for name, searcher in SEARCHERS.items()] + [""]
        lines += ["| setting | type | limits | default | meaning |", "|---|---|---|---|---|"]
        lines += [row(section, name, field) for name, field in shown_fields(section)]
    return "\n".join(lines) + "\n"


def shown_fields(section: Section) -> Iterator[tuple[str, FieldInfo]]:
    """Yield the settings of a section, without the ``kind`` that its heading names."""
    for name, field in section.settings.model_fields.items():
        names_section = name == "kind" and len(typing.get_args(field.annotation)) == 1
        if name not in section.left_out and not names_section:
            yield name, field


def row(section: Section, name: str, field: FieldInfo) -> str:
    """Return the line of a setting."""
    cells = (f"`{section.prefix}{name}`", type_name(field.annotation), limits(field), default(field), sentence(field))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def first_paragraph(settings: type[BaseModel]) -> str:
    """Return the first paragraph of a class's docstring, in Markdown."""
    text = inspect.cleandoc(settings.__doc__ or "").split("\n\n")[0]
    return " ".join(text.split()).replace("``", "`")


def commands(group: click.Group, *, path: Sequence[str] = ("emotune",)) -> Iterator[tuple[str, click.Command]]:
    """Yield all commands with their full names."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield " ".join((*path, name)), command
        if isinstance(command, click.Group):
            yield from commands(command, path=(*path, name))


def commands_page() -> str:
    """Return the page of all commands."""
    lines = [
        "# Commands",
        "",
        "This page is generated from the program; `emotune COMMAND --help` prints the same.",
        "",
        "Exit codes: 0 success; 1 failure; 2 wrong input; 129, 130, 143: saved and stopped by SIGHUP, SIGINT, SIGTERM.",
    ]
    for name, command in commands(emotune):
        usage = " ".join([name, *command.collect_usage_pieces(click.Context(command))])
        lines += ["", f"## {name}", "", "```", usage, "```", ""]
        lines += help_text(command)
        options = [part for part in command.params if isinstance(part, click.Option)]
        if options:
            lines += ["", "| option | meaning |", "|---|---|"]
            lines += [f"| {option_names(option, command)} | {option_help(option, command)} |" for option in options]
    return "\n".join(lines) + "\n"


def help_text(command: click.Command) -> list[str]:
    """Return the help of a command in Markdown: its paragraphs, and its examples as code."""
    lines: list[str] = []
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b"):
            title, *examples = paragraph.removeprefix("\b").strip("\n").split("\n")
            lines += [title, "", "```sh", *(line.removeprefix("  ") for line in examples), "```", ""]
        else:
            lines += [re.sub(r"(?<![\w`])(--[a-z][\w-]*)", r"`\1`", " ".join(paragraph.split())), ""]
    return lines


def option_names(option: click.Option, command: click.Command) -> str:
    """Return the names of an option and the kind of its value."""
    context = click.Context(command)
    names = ", ".join((*option.opts, *option.secondary_opts))
    value = "" if option.is_flag or option.count else f" {option.make_metavar(context)}"
    return f"`{names}{value}`".replace("|", "\\|")


def option_help(option: click.Option, command: click.Command) -> str:
    """Return the meaning of an option with its default and its environment variable, as the help page prints it."""
    record = option.get_help_record(click.Context(command))
    text = " ".join((record[1] if record else "").split())
    return re.sub(r"([|\[])", r"\\\1", text).replace("<", "&lt;")


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages to the files of the site."""
    pages = {"settings.md": settings_page(), "commands.md": commands_page()}
    pages |= {name: page_of(ROOT / source) for name, source in COPIED.items()}
    for name, page in pages.items():
        files.append(File.generated(config, name, content=page))
    files.append(
        File.generated(config, "training_curves.png", abs_src_path=str(ROOT / "benchmarks/training_curves.png"))
    )
    return files


def page_of(file: Path) -> str:
    """Return a Markdown file of the project as a page of the site, with its links changed accordingly."""
    text = file.read_text(encoding="utf-8")
    return re.sub(r"\]\(docs/decisions/?\)", "](decisions/journal.md)", text).replace("](docs/", "](")


if __name__ == "__main__":
    click.echo(settings_page() + commands_page())
