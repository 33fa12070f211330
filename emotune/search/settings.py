"""The table of searchers, and the settings of a search."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, ValidationError

from emotune.base import Settings
from emotune.errors import SettingsError, suggestion
from emotune.search.records import Value
from emotune.search.schedule import HyperBand, Promotion, Schedule, bracket_sizes, rungs

Model = Literal["hpbandster", "rungs", "none"]
RANDOM_FRACTIONS: dict[str, float] = {"hpbandster": 1 / 3, "rungs": 0.2, "none": 1.0}
"""Share of random configurations where the settings do not say one."""
ALL_RANDOM, AS_SET = 10, 40
"""With the model ``rungs`` so many first configurations are random, and from so many on only the share that is set.

Led by a few results, Gaussian processes send most of the early configurations to the same corners.
"""


@dataclass(frozen=True)
class Searcher:
    """A combination of a schedule and a source of configurations. The first of each is the default."""

    schedules: tuple[Literal["sync", "async", "full"], ...]
    models: tuple[Model, ...]
    sentence: str


SEARCHERS: dict[str, Searcher] = {
    "bohb": Searcher(("async", "sync"), ("rungs", "hpbandster"), "successive halving with a model of what did well"),
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
    """End after so many brackets; where there are none, after as many epochs as they would train."""
    schedule: Literal["sync", "async", "full"] = "async"
    """Rungs that wait to be full, promotion as soon as possible, or the full budget for everybody."""
    model: Model = "rungs"
    order: Literal["strict", "free"] = "strict"
    """Decide on a virtual clock (reproducible with several workers), or by what has come in."""
    random_fraction: float = Field(default=0.2, ge=0, le=1)
    """Share of the configurations that is drawn at random although there is a model; see also `random_share`."""
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

    def is_over(self, *, evaluations: int, epochs: int) -> bool:
        """Tell whether nothing more is begun after so many evaluations, and epochs trained in them."""
        if self.evaluations is not None and evaluations >= self.evaluations:
            return True
        return self.brackets is not None and self.schedule == "async" and epochs >= self.bracket_epochs

    @property
    def bracket_epochs(self) -> int:
        """Epochs of all brackets; 0 without a limit of brackets."""
        ladder = self.ladder
        total = 0
        for number in range(self.brackets or 0):
            first, sizes = bracket_sizes(number, rung_count=len(ladder), eta=self.eta)
            total += sizes[0] * ladder[first]
            rising = range(first + 1, len(ladder))
            total += sum(size * (ladder[rung] - ladder[rung - 1]) for size, rung in zip(sizes[1:], rising, strict=True))
        return total

    def random_share(self, known: int) -> float:
        """Return the share of random configurations after so many."""
        if self.model != "rungs":
            return self.random_fraction
        left = min(max((AS_SET - known) / (AS_SET - ALL_RANDOM), 0.0), 1.0)
        return self.random_fraction + (1 - self.random_fraction) * left

    @property
    def chooses_start(self) -> bool:
        """Whether the model chooses the rung on which a new configuration begins."""
        return self.schedule == "async" and self.model == "rungs"

    @property
    def patient(self) -> bool:
        """Whether asynchronous promotions are held to ``n // eta`` in all."""
        return self.model == "rungs"

    @property
    def uses_prior(self) -> bool:
        """Whether configurations near the default, and near those known to be good, are tried more often."""
        return self.model == "rungs"

    def new_schedule(self) -> Schedule:
        """Return the schedule at its beginning; it has no end of its own, because that may be moved later."""
        if self.schedule == "async":
            return Promotion(len(self.ladder), eta=self.eta, patient=self.patient)
        return HyperBand(len(self.ladder), eta=self.eta)


def virtual_workers(concurrency: int, *, order: Literal["strict", "free"]) -> int:
    """Return how many workers the search core decides for when so many evaluations run at a time.

    In strict order a decision waits for all results that end before it in virtual time. Deciding for twice as
    many workers, those waits are nearly gone: there is always an evaluation that needs none of the results
    that are awaited. A single worker awaits nothing.
    """
    return 2 * concurrency if order == "strict" and concurrency > 1 else concurrency


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
    if chosen["model"] == "hpbandster" and "schedule" not in options:
        chosen["schedule"] = "sync"  # BOHB as published
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
    if settings.model == "none" and "random_fraction" in options and settings.random_fraction < 1:
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
