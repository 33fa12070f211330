"""The settings of a search space in ConfigSpace's serialised form, and which of them are active together."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Condition = Mapping[str, Any]


@dataclass(frozen=True)
class ActiveGroup:
    """Settings that are active together."""

    title: str
    """Their condition, as the end of a title; empty without one."""
    settings: tuple[str, ...]


@dataclass(frozen=True)
class SpaceShape:
    """The settings of a search space."""

    settings: tuple[str, ...]
    """All settings with more than one value, parents before their children."""
    logarithmic: frozenset[str]
    """Settings with a logarithmic range."""
    conditions: Mapping[str, tuple[Condition, ...]]
    """Simple conditions by the setting that they activate."""

    @classmethod
    def of(cls, space: Mapping[str, Any]) -> "SpaceShape":
        """Return the shape of a space."""
        searched = [setting for setting in space["hyperparameters"] if not _is_constant(setting)]
        names = [str(setting["name"]) for setting in searched]
        conditions: dict[str, list[Condition]] = {}
        for condition in space.get("conditions", []):
            for leaf in _leaves(condition):
                conditions.setdefault(str(leaf["child"]), []).append(leaf)
        return cls(
            settings=tuple(sorted(names, key=lambda name: name in conditions)),
            logarithmic=frozenset(str(setting["name"]) for setting in searched if setting.get("log")),
            conditions={child: tuple(leaves) for child, leaves in conditions.items() if child in names},
        )

    def groups(self) -> list[ActiveGroup]:
        """Return the settings that are always active, then, for each condition, those active under it.

        A parent with one value under the condition is left out of its group.
        """
        always = tuple(name for name in self.settings if name not in self.conditions)
        groups = [ActiveGroup("", always)]
        for title in dict.fromkeys(self._title(child) for child in self.settings if child in self.conditions):
            children = [child for child in self.settings if child in self.conditions and self._title(child) == title]
            active = {*always, *self._ancestors(children[0]), *children} - self._fixed(children[0])
            groups.append(ActiveGroup(f", {title}", tuple(name for name in self.settings if name in active)))
        return groups

    def _title(self, child: str) -> str:
        return " and ".join(sorted(_in_words(condition) for condition in self.conditions[child]))

    def _ancestors(self, child: str) -> set[str]:
        parents = {str(condition["parent"]) for condition in self.conditions.get(child, ())}
        return parents.union(*(self._ancestors(parent) for parent in parents))

    def _fixed(self, child: str) -> set[str]:
        return {str(condition["parent"]) for condition in self.conditions[child] if condition["type"] == "EQ"}


def _is_constant(setting: Mapping[str, Any]) -> bool:
    choices = setting.get("choices", setting.get("sequence"))
    return setting["type"] == "constant" or (choices is not None and len(choices) < 2)


def _leaves(condition: Condition) -> Iterator[Condition]:
    """Yield the simple conditions of a nested one."""
    if "conditions" in condition:
        for part in condition["conditions"]:
            yield from _leaves(part)
    else:
        yield condition


def _in_words(condition: Condition) -> str:
    sign = {"EQ": "=", "NEQ": "≠", "LT": "<", "GT": ">", "IN": "in"}.get(condition["type"], condition["type"])
    value = condition.get("value", condition.get("values"))
    return f"{condition['parent']} {sign} {value}"
