"""The search: which configuration to train next, and how far.

`Optimizer` is imported when it is first used: with ConfigSpace and scipy.stats that takes 1 s, and reading the
records of a search needs none of it.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from emotune.search.records import Evaluation

if TYPE_CHECKING:
    from emotune.search.optimizer import Optimizer

__all__ = ["Evaluation", "Optimizer"]


def __getattr__(name: str) -> Any:
    if name == "Optimizer":
        return importlib.import_module("emotune.search.optimizer").Optimizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _CallableModule(ModuleType):
    """This package, which can be called: ``emotune.search`` is also the name of the function `emotune.api.search`."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Run a search, or resume it: `emotune.api.search`."""
        return importlib.import_module("emotune.api").search(*arguments, **options)


sys.modules[__name__].__class__ = _CallableModule
