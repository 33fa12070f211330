"""The table of searchers, and the settings of a search."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, ValidationError

from emotune.base import Settings
from emotune.errors import SettingsError
from emotune.search.brackets import HyperBand, Promotion, Schedule, bracket_sizes, rungs
from emotune.search.records import Value
from emotune.search.sampler import MODELS, RANDOM_FRACTIONS
from emotune.search.space import suggestion

Model = Literal["hpbandster", "rungs", "none"]


@dataclass(frozen=True)
class Searcher:
    """A combination of a schedule and a source of configurations. The first of each is the default."""

    schedules: tuple[Literal["sync", "async", "full"], ...]
    models: tuple[Model, ...]
    sentence: str


SEARCHERS: dict[str, Searcher] = {
    "bohb": Searcher(("sync", "async"), ("hpbandster", "rungs"), "HyperBand with a density model of what did well"),
    "hyperband": Searcher(("sync",), ("none",), "random configurations in synchronous brackets"),
    "asha": Searcher(("async",), ("none",), "random configurations, promoted as soon as they may be"),
    "random": Searcher(("full",), ("none",), "random configurations, each trained to the end"),
}


class SearchSettings(Settings):
    """All that decides a search, besides the space and the losses."""

    kind: str = "bohb"
    min_budget: int = Field(default=1, ge=1)
    max_budget: int = Field(default=27, ge=1)
    eta: int = Field(default=3, ge=2)
    seed: int = 0
    concurrency: int = Field(default=1, ge=1)
    """How many evaluations run at the same time; in strict order it decides the results."""
    evaluations: int | None = Field(default=None, ge=1)
    """End after so many evaluations."""
    brackets: int | None = Field(default=None, ge=1)
    """End after so many brackets; without brackets, after as many evaluations as they would have."""
    schedule: Literal["sync", "async", "full"] = "sync"
    """Rungs that wait to be full, promotion as soon as possible, or the full budget for everybody."""
    model: Model = "hpbandster"
    order: Literal["strict", "free"] = "strict"
    """Decide on a virtual clock (reproducible with several workers), or by what has come in."""
    random_fraction: float = Field(default=1 / 3, ge=0, le=1)
    """Share of the configurations that is drawn at random although there is a model."""
    earlier: tuple[dict[str, Value], ...] = ()
    """Configurations known to be good, the best first; legal in the space."""

    @property
    def ladder(self) -> tuple[int, ...]:
        """Budgets of the rungs, in epochs."""
        if self.schedule == "full":
            return (self.max_budget,)
        return rungs(self.min_budget, self.max_budget, self.eta)

    @property
    def limits(self) -> dict[str, int | None]:
        """When the search ends, by name."""
        return {"brackets": self.brackets, "evaluations": self.evaluations}

    def ends_before(self, bracket: int) -> bool:
        """Tell whether a bracket is beyond the last one."""
        return self.brackets is not None and bracket >= self.brackets

    @property
    def most_evaluations(self) -> int | None:
        """After how many evaluations the search is over whatever the schedule says; None: never."""
        if self.brackets is None or self.schedule != "async":
            return self.evaluations
        count = len(self.ladder)
        sizes = (bracket_sizes(number, rung_count=count, eta=self.eta)[1] for number in range(self.brackets))
        as_many = sum(sum(places) for places in sizes)
        return as_many if self.evaluations is None else min(as_many, self.evaluations)

    def new_schedule(self) -> Schedule:
        """Return the schedule at its beginning."""
        if self.schedule == "async":
            return Promotion(len(self.ladder), eta=self.eta)
        # without an end of its own: that may be moved later
        return HyperBand(len(self.ladder), eta=self.eta, brackets=None)


def search_settings(kind: str, options: Mapping[str, Any]) -> SearchSettings:
    """Combine a searcher of the table with options.

    Args:
        kind: A name in `SEARCHERS`.
        options: Fields of `SearchSettings`; what is not given has the searcher's default.

    Raises:
        SettingsError: There is no such searcher or option, it has a value that is impossible, or the
            searcher has no use for it.
    """
    if kind not in SEARCHERS:
        raise SettingsError(
            f"no searcher is called {kind!r}; there are {', '.join(SEARCHERS)}{suggestion(kind, among=SEARCHERS)}"
        )
    searcher = SEARCHERS[kind]
    chosen = {"kind": kind, "schedule": searcher.schedules[0], "model": searcher.models[0], **options}
    chosen.setdefault("random_fraction", RANDOM_FRACTIONS.get(chosen["model"], 1.0))
    try:
        settings = SearchSettings.model_validate(chosen)
    except ValidationError as error:
        raise SettingsError(_reason(error)) from error
    _check_use(searcher, options=options, settings=settings)
    return settings


def _check_use(searcher: Searcher, *, options: Mapping[str, Any], settings: SearchSettings) -> None:
    """Refuse options that the searcher does not have or that would have no effect."""
    for name, offered in (("schedule", searcher.schedules), ("model", searcher.models)):
        value = getattr(settings, name)
        if value not in offered:
            raise SettingsError(f"searcher {settings.kind!r} has no {name} {value!r}; it has {', '.join(offered)}")
    if settings.model not in MODELS and "random_fraction" in options and settings.random_fraction < 1:
        raise SettingsError(
            f"searcher {settings.kind!r} has no model, so that random_fraction has no effect; leave it out"
        )
    rungs(settings.min_budget, settings.max_budget, settings.eta)


def _reason(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        fields = SearchSettings.model_fields
        return f"no option is called {name!r}; there are {', '.join(fields)}{suggestion(name, among=fields)}"
    return f"option {name}: {first['msg']}, not {first['input']!r}"
