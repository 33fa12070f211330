"""Plug-ins: corpora, models, tasks and searchers of other installed packages, found by their entry points.

A package declares what it adds in its ``pyproject.toml``::

    [project.entry-points."emotune.models"]
    strided = "my_package.encoder:Strided"

The name of an entry point is the name that studies and commands use. See docs/plugins.md.
"""

from collections.abc import Collection
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Literal, TypeVar

from emotune.errors import SettingsError, summary

Group = Literal["emotune.corpora", "emotune.models", "emotune.tasks", "emotune.searchers"]

Loaded = TypeVar("Loaded")


@lru_cache(maxsize=4)
def plugin_entries(group: Group) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name, without importing them.

    Raises:
        SettingsError: Two packages use the same name.
    """
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise SettingsError(
                f"the plug-in {entry.name!r} of {group} is defined twice, by {_package(other)} and {_package(entry)}; "
                "uninstall one of them"
            )
    return found


def load_plugin(group: Group, name: str, *, kind: type[Loaded]) -> Loaded:
    """Import and return the object of an entry point.

    Args:
        group: The group of the entry point.
        name: Its name.
        kind: Required type of the object.

    Raises:
        SettingsError: The import fails, or the object is of another type.
    """
    entry = plugin_entries(group)[name]
    try:
        loaded = entry.load()
    except Exception as error:  # whatever the code of another package raises
        raise SettingsError(
            f"the plug-in {name!r} of {_package(entry)} cannot be imported: {summary(error)}; correct or uninstall it"
        ) from error
    if not isinstance(loaded, kind):
        raise SettingsError(_wrong_type(entry, expected=f"an object of {kind.__name__}"))
    return loaded


def load_plugin_class(group: Group, name: str, *, base: type[Loaded]) -> type[Loaded]:
    """Import and return the class of an entry point.

    Args:
        group: The group of the entry point.
        name: Its name.
        base: Class that it must be a subclass of.

    Raises:
        SettingsError: The import fails, or the object is no such class.
    """
    loaded = load_plugin(group, name, kind=type)
    if not issubclass(loaded, base):
        raise SettingsError(_wrong_type(plugin_entries(group)[name], expected=f"a subclass of {base.__name__}"))
    return loaded


def check_plugin_name(group: Group, name: str, *, own: str | None, taken: Collection[str]) -> None:
    """Refuse a plug-in whose name differs from that of its object, or is the name of something built in.

    Args:
        group: The group of the entry point.
        name: Its name.
        own: The name in the object.
        taken: Names that are built in.

    Raises:
        SettingsError: The names differ, or the name is taken.
    """
    package = _package(plugin_entries(group)[name])
    if name in taken:
        raise SettingsError(f"the plug-in {name!r} of {package} has the name of a part of emotune; give it another")
    if own != name:
        raise SettingsError(f"the plug-in {name!r} of {package} calls itself {own!r}; give both the same name")


def _package(entry: EntryPoint) -> str:
    return entry.value if entry.dist is None else f"the package {entry.dist.name}"


def _wrong_type(entry: EntryPoint, *, expected: str) -> str:
    return f"the plug-in {entry.name!r} of {_package(entry)} is {entry.value}, which is not {expected}; correct it"
