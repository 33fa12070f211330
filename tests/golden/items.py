"""The table of golden files: their content, its computation, and the tolerance of the comparison."""

import functools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from tests.golden import journals, options, stores, tables
from tests.golden.losses import losses

FOLDER = Path(__file__).parent
WIDTH = 118
"""Maximal number of characters per line of a golden file, if the content can be split."""
ROUNDING_TOLERANCE = 1e-9
"""Relative tolerance for floats whose last bits depend on the kind of CPU."""


@dataclass(frozen=True)
class Item:
    """A golden file.

    Attributes:
        name: Path inside this folder, without the suffix.
        compute: Returns the present content as plain JSON.
        tolerance: Relative tolerance of floats; the absolute one is a hundredth of it. 0: floats must be equal.
    """

    name: str
    compute: Callable[[], Any]
    tolerance: float = 0.0

    @property
    def file(self) -> Path:
        """Path of the recorded content."""
        return FOLDER / f"{self.name}.json"

    def recorded(self) -> Any:
        """Read the recorded content."""
        return json.loads(self.file.read_text())

    def now(self) -> Any:
        """Compute the present content, in the form in which JSON restores it."""
        # The matrices are small. On a busy machine a second thread of BLAS would wait for the first, for minutes.
        with threadpool_limits(1):
            return json.loads(json.dumps(self.compute()))

    def differences(self) -> list[str]:
        """Return the differences of the present content from the recorded one, one line each."""
        return list(differences(self.recorded(), self.now(), tolerance=self.tolerance))

    def renew(self) -> None:
        """Write the present content, unless it equals the recorded one."""
        if self.file.exists() and not self.differences():
            return
        self.file.parent.mkdir(exist_ok=True)
        self.file.write_text(as_text(self.now()) + "\n")


@functools.cache
def _mlflow_stores() -> dict[str, Any]:
    return journals.mlflow_stores()


def _of_journal(name: str) -> Iterator[Item]:
    folder = f"journals/{name}"
    yield Item(f"{folder}/status", partial(journals.status, name), ROUNDING_TOLERANCE)
    yield Item(f"{folder}/decisions", partial(journals.decisions, name), ROUNDING_TOLERANCE)
    yield Item(f"{folder}/mlflow-plan", partial(journals.mlflow_plan, name), ROUNDING_TOLERANCE)
    yield Item(f"{folder}/mlflow-store", lambda: _mlflow_stores()[name], ROUNDING_TOLERANCE)


ITEMS = (
    Item("losses", losses, 2e-4),
    Item("stores", stores.contents, 1e-4),
    Item("options", options.commands),
    *(Item(f"tables/{variant}", partial(tables.hashes, variant)) for variant in tables.VARIANTS),
    *(item for name in journals.NAMES for item in _of_journal(name)),
)


def chosen(words: list[str]) -> list[Item]:
    """Return the items whose names contain one of the words; all items if there are no words."""
    return [item for item in ITEMS if not words or any(word in item.name for word in words)]


def differences(known: Any, now: Any, *, tolerance: float, where: str = "") -> Iterator[str]:
    """Yield a line for every difference of two JSON documents."""
    if isinstance(known, dict) and isinstance(now, dict):
        for key in sorted(known.keys() | now.keys()):
            below = f"{where}.{key}".lstrip(".")
            if key not in now or key not in known:
                yield f"{below}: {'is new' if key in now else 'is missing'}"
            else:
                yield from differences(known[key], now[key], tolerance=tolerance, where=below)
    elif isinstance(known, list) and isinstance(now, list) and len(known) == len(now):
        for number, pair in enumerate(zip(known, now, strict=True)):
            yield from differences(*pair, tolerance=tolerance, where=f"{where}[{number}]")
    elif not _equal(known, now, tolerance=tolerance):
        yield f"{where}: recorded {json.dumps(known)[:200]}, now {json.dumps(now)[:200]}"


def _equal(known: Any, now: Any, *, tolerance: float) -> bool:
    if tolerance and isinstance(known, float) and isinstance(now, float):
        return math.isclose(known, now, rel_tol=tolerance, abs_tol=tolerance / 100)
    return type(known) is type(now) and known == now


def as_text(content: Any, *, indent: str = "", room: int = WIDTH) -> str:
    """Return JSON in which a value is on one line if it fits."""
    line = json.dumps(content)
    if len(line) <= room - len(indent) or not isinstance(content, (dict, list)) or not content:
        return line
    inner = f"{indent} "
    if isinstance(content, dict):
        parts = [f"{json.dumps(key)}: {as_text(value, indent=inner)}" for key, value in content.items()]
    else:
        parts = [as_text(value, indent=inner) for value in content]
    opening, closing = "{}" if isinstance(content, dict) else "[]"
    return f"{opening}\n{inner}" + f",\n{inner}".join(parts) + f"\n{indent}{closing}"
