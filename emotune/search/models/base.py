"""The interface of a model: its defaults, its capabilities and its proposals."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

if TYPE_CHECKING:  # ConfigSpace imports scipy.stats, which takes 0.5 s; settings need neither
    import numpy as np
    from ConfigSpace import ConfigurationSpace

    from emotune.search.history import History
    from emotune.search.records import Value

ScheduleName = Literal["sync", "async", "full"]


class Choice(NamedTuple):
    """An evaluation that a model chooses: the promotion of a configuration, or a new one (None), and its rung."""

    config_id: int | None
    rung: int


class Model(abc.ABC):
    """A source of configurations that learns from results. It is built anew for each decision.

    The class variables are its defaults and capabilities; a subclass sets those in which it differs.

    Args:
        space: The search space.
        history: All configurations so far, and the results that the decision may depend on.
    """

    schedules: ClassVar[tuple[ScheduleName, ...]] = ("async", "sync")
    """Schedules that it can be combined with, the default first."""

    default_random_fraction: ClassVar[float] = 0.2
    """Fraction of random configurations, unless the settings give one."""

    chooses_start_rung: ClassVar[bool] = False
    """Whether `start_rung` chooses the first rung of a new configuration, where the schedule is ``async``."""

    allocates: ClassVar[bool] = False
    """Whether `choose` decides between promotions and new configurations, where the schedule is ``async``."""

    considered: ClassVar[int] = 1
    """Number of waiting configurations of a rung, the best ones, among which `choose` promotes."""

    patient_promotion: ClassVar[bool] = False
    """Whether asynchronous promotions are limited to ``n // eta`` in all, see `emotune.search.schedule.Promotion`."""

    uses_prior: ClassVar[bool] = False
    """Whether some configurations are drawn near the default and near those known to be good."""

    weighs_rungs: ClassVar[bool] = False
    """Whether it learns from all rungs, each with a weight that is reported."""

    def __init__(self, space: ConfigurationSpace, *, history: History) -> None:
        self._space = space
        self._history = history

    @classmethod
    def random_share(cls, *, random_fraction: float, configurations: int) -> float:
        """Return the probability that a configuration is random, after a number of configurations."""
        del configurations
        return random_fraction

    def adapted_share(self, share: float, *, random_fraction: float) -> float:
        """Return the probability that a configuration is random, given the results.

        Args:
            share: The probability by `random_share`.
            random_fraction: The fraction of the settings.
        """
        del random_fraction
        return share

    def choose(self, *, rung_budgets: tuple[int, ...], generator: np.random.Generator) -> Choice | None:
        """Return the next evaluation, None if the schedule decides; called first, if `allocates`."""
        raise NotImplementedError

    @abc.abstractmethod
    def propose(self, generator: np.random.Generator) -> Iterator[dict[str, Value]] | None:
        """Return legal configurations, the most promising first; None while there are too few results."""

    def start_rung(self, *, rung_budgets: tuple[int, ...], eta: int, generator: np.random.Generator) -> int:
        """Return the rung at which a new configuration begins; called if `chooses_start_rung`."""
        raise NotImplementedError
