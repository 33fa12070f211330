"""The searcher for ``tune.TuneConfig(search_alg=...)``."""

import hashlib
import json
import os
import time
import weakref
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from ConfigSpace import ConfigurationSpace
from ray.tune.result import AUTO_RESULT_KEYS, DEBUG_METRICS, DONE
from ray.tune.search import Searcher
from ray.tune.search.variant_generator import parse_spec_vars

from emotune.errors import SettingsError
from emotune.files import write_atomically
from emotune.search.criteria import Criteria, StudyObjective
from emotune.search.records import Opened
from emotune.search.settings import search_settings
from emotune.search.space import copy_of, space_as_document
from emotune.storage import open_storage
from emotune.study.definition import Budget
from emotune.study.folder import SearchFolder
from emotune.study.recorded import complete_study, recorded_order
from emotune.study.results import opened
from emotune.study.resume import optimizer_from_records, starting_workers
from emotune.tune.session import Session, describe_metrics, open_journal

IGNORED_METRICS = frozenset({*AUTO_RESULT_KEYS, *DEBUG_METRICS, DONE, "trial_id", "experiment_tag", "iterations"})
"""Entries that Tune adds to a result, which are no metrics of the training."""

SESSIONS: weakref.WeakValueDictionary[str, Session] = weakref.WeakValueDictionary()
"""Open sessions of this process by journal. A new searcher of the same search closes the one before it."""


class EmotuneSearch(Searcher):
    """A search for a ``ray.tune.Tuner``: multi-fidelity Bayesian optimisation that resumes exactly.

    Use it with `EmotuneScheduler` and ``num_samples=-1``; ``budget`` ends the search. Every decision and result is in
    the journal ``STORAGE/NAME/journal.jsonl`` before Tune acts on it. A searcher with the same name resumes the same
    search, after ``Tuner.restore`` or in a new Tuner. ``emotune status NAME`` prints its evaluations.

    Args:
        space: The search space.
        budget: Epochs of the rungs, and the end of the search.
        metric: The metric in the results of the trainable.
        mode: ``min`` or ``max``: whether the metric is minimised or maximised.
        name: Name of the search.
        storage: Where its journal is kept: a folder, or ``s3://BUCKET/PREFIX``; by default ``$EMOTUNE_STORAGE`` or
            ``results``.
        seed: Seed of the proposed configurations.
        concurrency: Evaluations at a time. In strict order, the decisions depend on it.
        time_attr: Entry of a result that counts the trained epochs, over all resumptions of a trial.
        searcher: Options of the searcher, as in a study: ``kind``, ``model``, ``schedule``, ``order`` and others.

    Raises:
        SettingsError: A setting is impossible or unknown.

    Example:
        >>> search = EmotuneSearch(space, budget=Budget(min=1, max=27), metric="loss", mode="min", name="mine")
        >>> tuner = tune.Tuner(
        ...     MyTrainable,
        ...     tune_config=tune.TuneConfig(search_alg=search, scheduler=EmotuneScheduler(), num_samples=-1),
        ... )
    """

    def __init__(  # noqa: PLR0913 (the settings of a search, all by name)
        self,
        space: ConfigurationSpace,
        *,
        budget: Budget,
        metric: str | Sequence[str],
        mode: str,
        name: str,
        storage: str | Path | None = None,
        seed: int = 0,
        concurrency: int = 1,
        time_attr: str = "training_iteration",
        searcher: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(metric, str):
            raise SettingsError(
                f"metric: {metric!r} was given; expected one name. Several objectives: emotune.search(trainable, ...)"
            )
        if mode not in {"min", "max"}:
            raise SettingsError(f"mode: {mode!r} was given; expected 'min' or 'max'")
        if concurrency < 1:
            raise SettingsError(f"concurrency: {concurrency} was given; expected at least 1")
        super().__init__(metric=metric, mode=mode)
        self.time_attr = time_attr
        self.concurrency = concurrency
        self.name = name
        self._space = copy_of(space)
        self._budget = budget
        self._seed = seed
        self._searcher = dict(searcher or {})
        self._storage = str(storage or os.environ.get("EMOTUNE_STORAGE", "results"))
        options = {key: value for key, value in self._searcher.items() if key != "kind"}
        search_settings(str(self._searcher.get("kind", "bohb")), options)  # refuses what is not an option
        self._session: Session | None = None
        self._restored: dict[str, int] = {}
        """Configurations of the trials of an earlier driver, by Tune's id."""
        self._folder = SearchFolder.of(name, storage=open_storage(self._storage))

    @property
    def session(self) -> Session:
        """The search, opened when it is first used.

        Raises:
            BusyError: Another process runs the search.
            DamageError: Its journal is not what was written.
            StudyChangedError: It was started with other settings.
        """
        if self._session is None:
            self._session = self._open()
        return self._session

    def _open(self) -> Session:
        key = str(self._folder.journal)
        earlier = SESSIONS.pop(key, None)
        if earlier is not None:
            earlier.close()
        journal = open_journal(self._folder, self._first_record())
        first = opened(journal.records)
        recorded = complete_study(first.study)
        optimizer = optimizer_from_records(
            self._space,
            journal.records,
            criteria=Criteria((StudyObjective.model_validate({"metric": self._metric, "mode": self._mode}),)),
            settings={
                **recorded["searcher"],
                **self._budget.optimizer_settings,
                "seed": self._seed,
                "order": recorded_order(recorded),
                "concurrency": starting_workers(first),
            },
        )
        sign = 1.0 if self._mode == "min" else -1.0
        session = Session(self._folder, journal=journal, optimizer=optimizer, sign=sign, concurrency=self.concurrency)
        SESSIONS[key] = session
        return session

    def _first_record(self) -> Opened:
        study = {
            "base": {},
            "objective": {"metric": self._metric, "mode": self._mode},
            "budget": self._budget.model_dump(mode="json"),
            "searcher": {"kind": "bohb", **self._searcher},
            "seed": self._seed,
            "space": space_as_document(self._space),
            "trainable": {"kind": "tuner", "time_attr": self.time_attr},
        }
        return Opened(
            time=time.time(),
            name=self._folder.name,
            study=study,
            digest=hashlib.sha256(json.dumps(study, sort_keys=True).encode()).hexdigest()[:16],
            seed=self._seed,
            concurrency=self.concurrency,
            software={name: version(name) for name in ("emotune", "ray")},
        )

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Return that the searcher limits the concurrency itself: Tune would count paused trials.

        Raises:
            SettingsError: ``max_concurrent_trials`` of the ``TuneConfig`` differs from ``concurrency``.
        """
        if max_concurrent != self.concurrency:
            raise SettingsError(
                f"max_concurrent_trials={max_concurrent} was given to TuneConfig, and concurrency={self.concurrency} "
                "to EmotuneSearch; leave max_concurrent_trials out"
            )
        return True

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Accept constants in ``param_space``, which every trial receives.

        Raises:
            SettingsError: ``param_space`` has something to search, or metric or mode differ.
        """
        del spec
        self.check_objective(metric, mode)
        _, domains, grids = parse_spec_vars(config)
        for path, _ in [*domains, *grids]:
            raise SettingsError(
                f"param_space: {'/'.join(map(str, path))} has a distribution; expected constants. Put it into the "
                "ConfigSpace space of EmotuneSearch"
            )
        return True

    def check_objective(self, metric: str | None, mode: str | None) -> None:
        """Refuse a metric or mode of the ``TuneConfig`` that differs from that of the search.

        Raises:
            SettingsError: One of them differs.
        """
        for name, given, expected in (("metric", metric, self._metric), ("mode", mode, self._mode)):
            if given is not None and given != expected:
                raise SettingsError(
                    f"{name}={given!r} was given to TuneConfig, and {name}={expected!r} to EmotuneSearch; give the "
                    "same to both"
                )

    def suggest(  # pyright: ignore[reportIncompatibleMethodOverride] (Tune annotates it without its own FINISHED)
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        """Return the values of a new trial, None if there is none to start now, or that the search is over."""
        values = self.session.next_values(trial_id)
        if values is not None:
            return dict(values)
        if not self.session.finished:
            return None
        self.session.close()
        return Searcher.FINISHED

    def report(self, trial_id: str, result: Mapping[str, Any]) -> Literal["continue", "pause", "stop"]:
        """Record a result, and return what the trial does next.

        Raises:
            SettingsError: The result has no ``time_attr`` or no metric, or not as a number.
        """
        return self.session.report(
            trial_id,
            epoch=int(self._number(result, self.time_attr)),
            value=self._number(result, str(self._metric)),
            metrics=describe_metrics(result, ignored=IGNORED_METRICS | {self.time_attr}),
        )

    def _number(self, result: Mapping[str, Any], name: str) -> float:
        try:
            return float(result[name])
        except KeyError as error:
            raise SettingsError(
                f"a result of the trainable has no {name!r}; it has {', '.join(sorted(map(str, result)))}"
            ) from error
        except (TypeError, ValueError) as error:
            raise SettingsError(f"{name}: {result[name]!r} was reported; expected a number") from error

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,
        error: bool = False,  # noqa: FBT001, FBT002 (Tune's signature)
    ) -> None:
        """Record that a trial has ended: by its own decision, by ``stop`` of the ``RunConfig``, or by an error."""
        if error:
            self.session.fail(trial_id, error="the trial failed; its error is in Tune's folder of the trial")
            return
        if result is None:
            return  # a paused trial was stopped
        if self.time_attr in result and self._metric in result:
            self.report(trial_id, result)
            value = self._number(result, str(self._metric))
            self.session.end(trial_id, value=value)
        else:
            self.session.fail(trial_id, error=f"the trial ended without {self._metric}")

    def attach(self, trial_id: str) -> bool:
        """Assign a trial that Tune has restored to its configuration; return whether it is known."""
        return trial_id in self.session.trials or self.session.attach(trial_id, self._restored.pop(trial_id, None))

    def save(self, checkpoint_path: str) -> None:
        """Write which trial trains which configuration; all else is in the journal."""
        trials = {**self._restored, **(self._session.trials if self._session is not None else {})}
        content = json.dumps({"name": self.name, "trials": trials}).encode()
        write_atomically(Path(checkpoint_path), content)

    def restore(self, checkpoint_path: str) -> None:
        """Read which trial trains which configuration; the search itself is rebuilt from the journal."""
        content = json.loads(Path(checkpoint_path).read_bytes())
        self._restored = {str(trial_id): int(config_id) for trial_id, config_id in content["trials"].items()}

    def __getstate__(self) -> dict[str, Any]:
        """Return the settings; an open journal cannot be pickled."""
        return self.__dict__ | {"_session": None}
