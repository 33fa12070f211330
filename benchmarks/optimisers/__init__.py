"""The optimisers, by name."""

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from benchmarks.simulation import Optimiser, Task


@dataclass(frozen=True)
class Entry:
    """An optimiser of the table.

    Attributes:
        module: The adapter, in this package.
        make: Name of its class, which is constructed with a `Task` and the options.
        package: Package that it needs.
        options: Further arguments of the class.
        peer_bohb: Whether it is the BOHB of another project.
        several_only: Whether it differs from another entry only with several workers.
    """

    module: str
    make: str
    package: str
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    peer_bohb: bool = False
    several_only: bool = False


def _emotune(*, several_only: bool = False, **options: str) -> Entry:
    return Entry("emotune_search", "Emotune", "emotune", options, several_only=several_only)


OPTIMISERS: dict[str, Entry] = {
    "emotune": _emotune(),
    "emotune_strict": _emotune(order="strict", several_only=True),
    "emotune_rungs": _emotune(model="rungs"),
    "emotune_sync": _emotune(schedule="sync"),
    "emotune_bohb": _emotune(model="hpbandster"),
    "emotune_hyperband": _emotune(kind="hyperband"),
    "emotune_asha": _emotune(kind="asha"),
    "emotune_random": _emotune(kind="random"),
    "random": Entry("random_search", "RandomSearch", "ConfigSpace"),
    "hpbandster_bohb": Entry("hpbandster_bohb", "HpBandSter", "hpbandster", peer_bohb=True),
    "ray_bohb": Entry("ray_bohb", "RayBohb", "ray", peer_bohb=True),
    "syne_bohb": Entry("syne_tune_search", "SyneTune", "syne_tune", {"name": "BOHB"}, peer_bohb=True),
    "syne_asha": Entry("syne_tune_search", "SyneTune", "syne_tune", {"name": "ASHA"}),
    "optuna_tpe": Entry("optuna_tpe", "OptunaTpe", "optuna"),
    "optuna_tpe_hyperband": Entry("optuna_tpe", "OptunaTpeHyperband", "optuna"),
    "optuna_gp": Entry("optuna_gp", "OptunaGp", "optuna"),
    "optuna_gp_hyperband": Entry("optuna_gp", "OptunaGpHyperband", "optuna"),
    "dehb": Entry("dehb_search", "Dehb", "dehb"),
    "smac": Entry("smac_search", "Smac", "smac"),
}


def is_installed(name: str) -> bool:
    """Return whether the package of an optimiser is installed."""
    return importlib.util.find_spec(OPTIMISERS[name].package) is not None


def make(name: str, task: Task) -> Optimiser:
    """Return an optimiser. Peers are imported only here, because few environments contain all of them."""
    entry = OPTIMISERS[name]
    module = importlib.import_module(f"benchmarks.optimisers.{entry.module}")
    return getattr(module, entry.make)(task, **entry.options)
