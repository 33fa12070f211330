"""The table of searchers, and the settings of a search."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, ValidationError, model_serializer

from emotune.base import Settings
from emotune.errors import SettingsError, suggestion
from emotune.plugins import plugin_entries
from emotune.search.models import MODELS, model_class
from emotune.search.models.base import Model, ScheduleName
from emotune.search.records import Order, Value
from emotune.search.schedule import HyperBand, Promotion, Schedule, bracket_sizes, rungs

NO_MODEL = "none"
"""Name of the model of searchers whose configurations are all random."""
STRICT_WORKERS = 2
"""Greatest number of workers for which the order of a search on Ray is strict by default.

The price of strict order is idle time, which grows with the workers; see ``docs/decisions/order-of-results.md``.
"""


@dataclass(frozen=True)
class Searcher:
    """A combination of schedules and models; the first of each is the default."""

    schedules: tuple[ScheduleName, ...]
    models: tuple[str, ...]
    sentence: str


SEARCHERS: dict[str, Searcher] = {
    "bohb": Searcher(("async", "sync"), tuple(MODELS), "successive halving with a model of what did well"),
    "hyperband": Searcher(("sync",), (NO_MODEL,), "random configurations in synchronous brackets"),
    "asha": Searcher(("async",), (NO_MODEL,), "random configurations, promoted as soon as they may be"),
    "random": Searcher(("full",), (NO_MODEL,), "random configurations, each trained to the end"),
}


class SearchSettings(Settings):
    """All settings that determine a search, besides the space and the losses."""

    kind: str = "bohb"
    """A name in the table of searchers: ``bohb``, ``hyperband``, ``asha`` or ``random``."""
    min_budget: int = Field(default=1, ge=1)
    max_budget: int = Field(default=27, ge=1)
    eta: int = Field(default=3, ge=2)
    seed: int = 0
    concurrency: int = Field(default=1, ge=1)
    """Number of evaluations that run at a time; in strict order the results depend on it."""
    evaluations: int | None = Field(default=None, ge=1)
    """Number of evaluations after which the search ends; None: no such limit."""
    brackets: int | None = Field(default=None, ge=1)
    """Number of brackets after which the search ends; with ``async``, the epochs that these brackets train."""
    schedule: ScheduleName = "async"
    """``sync``: a rung is compared when it is complete; ``async``: promotion as early as possible; ``full``: each
    configuration is trained to the full budget."""
    model: str = "gain"
    """The model that proposes configurations: ``gain``, ``rungs`` or ``hpbandster`` (``bohb``), ``none`` (the
    others)."""
    order: Order = "strict"
    """``strict``: decide on a virtual clock (reproducible with several workers); ``free``: use each result at once."""
    ranking: Literal["loss", "pareto"] = "loss"
    """``loss``: results are compared by one loss; ``pareto``: they are scores of several losses or with constraints."""
    random_fraction: float = Field(default=0.2, ge=0, le=1)
    """Fraction of random configurations beside those of the model; see also `random_share`."""
    earlier: tuple[dict[str, Value], ...] = ()
    """Configurations known to be good, the best first; legal in the space."""

    @model_serializer(mode="wrap")
    def _omit_default_ranking(self, handler: Callable[..., dict[str, Any]]) -> dict[str, Any]:
        """Leave out a ranking that older versions did not record."""
        content = handler(self)
        return {name: value for name, value in content.items() if (name, value) != ("ranking", "loss")}

    @property
    def rung_budgets(self) -> tuple[int, ...]:
        """Budgets of the rungs, in epochs."""
        if self.schedule == "full":
            return (self.max_budget,)
        return rungs(self.min_budget, self.max_budget, self.eta)

    @property
    def limits(self) -> dict[str, int | None]:
        """Limits of the search, by name."""
        return {"brackets": self.brackets, "evaluations": self.evaluations}

    def ends_before(self, bracket: int) -> bool:
        """Return whether a bracket is beyond the last one."""
        return self.brackets is not None and bracket >= self.brackets

    def is_over(self, *, evaluations: int, epochs: int) -> bool:
        """Return whether the search starts nothing after a number of evaluations that train a number of epochs."""
        if self.evaluations is not None and evaluations >= self.evaluations:
            return True
        return self.brackets is not None and self.schedule == "async" and epochs >= self.bracket_epochs

    @property
    def bracket_epochs(self) -> int:
        """Epochs of all brackets; 0 without a limit of brackets."""
        budgets = self.rung_budgets
        total = 0
        for number in range(self.brackets or 0):
            first, sizes = bracket_sizes(number, rung_count=len(budgets), eta=self.eta)
            total += sizes[0] * budgets[first]
            promotions = zip(sizes[1:], range(first + 1, len(budgets)), strict=True)
            total += sum(size * (budgets[rung] - budgets[rung - 1]) for size, rung in promotions)
        return total

    @property
    def model_class(self) -> type[Model] | None:
        """The model's class, with its capabilities; None if all configurations are random."""
        return None if self.model == NO_MODEL else model_class(self.model)

    def random_share(self, configurations: int) -> float:
        """Return the probability that a configuration is random, after a number of configurations."""
        if self.model_class is None:
            return self.random_fraction
        return self.model_class.random_share(random_fraction=self.random_fraction, configurations=configurations)

    @property
    def chooses_start_rung(self) -> bool:
        """Whether the model chooses the rung at which a new configuration begins."""
        return self.schedule == "async" and self.model_class is not None and self.model_class.chooses_start_rung

    @property
    def allocates(self) -> bool:
        """Whether the model chooses between promotions and new configurations."""
        return self.schedule == "async" and self.model_class is not None and self.model_class.allocates

    @property
    def considered(self) -> int:
        """Number of waiting configurations of a rung, the best ones, of which any may be promoted."""
        return self.model_class.considered if self.allocates and self.model_class is not None else 1

    @property
    def patient_promotion(self) -> bool:
        """Whether asynchronous promotions are limited to ``n // eta`` in all."""
        return self.model_class is not None and self.model_class.patient_promotion

    @property
    def uses_prior(self) -> bool:
        """Whether some configurations are drawn near the default and near those known to be good."""
        return self.model_class is not None and self.model_class.uses_prior

    @property
    def weighs_rungs(self) -> bool:
        """Whether the model learns from all rungs, each with a weight that is reported."""
        return self.model_class is not None and self.model_class.weighs_rungs

    def new_schedule(self) -> Schedule:
        """Return a schedule without evaluations. It has no end, because the limits of a search can change."""
        if self.schedule == "async":
            return Promotion(len(self.rung_budgets), eta=self.eta, patient=self.patient_promotion)
        return HyperBand(len(self.rung_budgets), eta=self.eta)


def default_order(concurrency: int) -> Order:
    """Return the order of a search on Ray that is given none: free with more than `STRICT_WORKERS` workers."""
    return "free" if concurrency > STRICT_WORKERS else "strict"


def with_order(searcher: Mapping[str, Any], *, concurrency: int) -> dict[str, Any]:
    """Return the options of a new search with its order. Strict order is left out: without one, a record has it."""
    order = default_order(concurrency)
    return dict(searcher) if order == "strict" else {"order": order, **searcher}


def virtual_workers(concurrency: int, *, order: Order) -> int:
    """Return the number of virtual workers of a search that runs ``concurrency`` evaluations at a time.

    In strict order with several workers it is ``concurrency + ceil(concurrency / 2)``, else ``concurrency``. In strict
    order a decision waits for all results that end before it in virtual time. Further virtual workers are evaluations
    that are decided ahead. They keep workers busy, but are decided without the latest results; half as many as
    workers was the best number, see ``docs/decisions/order-of-results.md``.
    """
    return concurrency + math.ceil(concurrency / 2) if order == "strict" and concurrency > 1 else concurrency


def search_settings(kind: str, options: Mapping[str, Any]) -> SearchSettings:
    """Return the settings of a searcher, with the defaults of the searcher and of its model.

    Args:
        kind: A name in `SEARCHERS`.
        options: Fields of `SearchSettings`.

    Raises:
        SettingsError: The searcher or an option is unknown, or an option has an impossible value or no effect.
    """
    if kind not in SEARCHERS:
        raise SettingsError(
            f"no searcher is called {kind!r}; there are {', '.join(SEARCHERS)}{suggestion(kind, among=SEARCHERS)}"
        )
    searcher = SEARCHERS[kind]
    model = options.get("model", searcher.models[0])
    _check_model(kind, model)
    defaults: dict[str, Any] = {"schedule": searcher.schedules[0], "random_fraction": 1.0}
    if model != NO_MODEL:
        capable = model_class(model)
        defaults = {"schedule": capable.schedules[0], "random_fraction": capable.default_random_fraction}
    try:
        settings = SearchSettings.model_validate({"kind": kind, "model": model, **defaults, **options})
    except ValidationError as error:
        raise SettingsError(_reason(error)) from error
    _check_use(searcher, options=options, settings=settings)
    return settings


def _check_model(kind: str, model: Any) -> None:
    models = SEARCHERS[kind].models
    if model in models:
        return
    if NO_MODEL not in models:
        models = (*models, *plugin_entries("emotune.searchers"))
    if model not in models:
        raise SettingsError(
            f"searcher {kind!r} has no model {model!r}; it has {', '.join(models)}"
            f"{suggestion(str(model), among=models)}"
        )


def with_model(searcher: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a searcher with its model, if it has one: the default can change, a record must not."""
    kind = str(searcher.get("kind", "bohb"))
    known = SEARCHERS.get(kind)
    model = {} if known is None or known.models[0] == NO_MODEL else {"model": known.models[0]}
    return {"kind": kind, **model, **searcher}


def _check_use(searcher: Searcher, *, options: Mapping[str, Any], settings: SearchSettings) -> None:
    """Refuse a schedule that the searcher or its model does not have, and options that have no effect."""
    schedules = [
        name for name in searcher.schedules if settings.model_class is None or name in settings.model_class.schedules
    ]
    if settings.schedule not in schedules:
        raise SettingsError(
            f"searcher {settings.kind!r} has no schedule {settings.schedule!r}; it has {', '.join(schedules)}"
        )
    if settings.model == NO_MODEL and "random_fraction" in options and settings.random_fraction < 1:
        raise SettingsError(f"searcher {settings.kind!r} has no model: random_fraction has no effect; remove it")
    rungs(settings.min_budget, settings.max_budget, settings.eta)


def _reason(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        fields = SearchSettings.model_fields
        return f"no option is called {name!r}; there are {', '.join(fields)}{suggestion(name, among=fields)}"
    return f"option {name}: {first['msg']}, not {first['input']!r}"
