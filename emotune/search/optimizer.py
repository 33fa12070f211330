"""The search as a pure state machine: `Optimizer.ask` returns evaluations, `Optimizer.tell` records results."""

import importlib
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, SupportsFloat

from ConfigSpace import ConfigurationSpace

from emotune.errors import DamageError, SettingsError, StudyChangedError
from emotune.randomness import stream
from emotune.search.clock import VirtualClock
from emotune.search.history import History
from emotune.search.pareto import Score
from emotune.search.proposals import Proposal, decide
from emotune.search.records import Evaluation, Value
from emotune.search.schedule import Plan, plan_of
from emotune.search.scoreboard import Scoreboard
from emotune.search.settings import SearchSettings, search_settings
from emotune.search.space import copy_of, space_digest
from emotune.search.state import SearchState, finite, outcome_of, parse_state, record_loss
from emotune.search.stopping import Change, Extension, Resize, Retry, candidates_left, in_words
from emotune.search.values import check_recorded, fitted_settings

Cost = Callable[[dict[str, Value]], float]
"""Virtual seconds that one epoch of a configuration lasts."""


class Optimizer:
    """A search, as a function of the space, the settings and the losses.

    `ask` returns the next evaluation, `tell` records results in any order. Losses are minimised. There is no hidden
    random state, no clock and no file, so that a search restored from `state` makes the same decisions. In strict
    order decisions are made on a virtual clock with ``concurrency`` workers, so that the evaluations do not depend on
    the order of the results.

    Args:
        space: The search space. It is copied.
        min_budget: Epochs of the first rung.
        max_budget: Epochs of the last rung.
        eta: Factor between rungs; one in ``eta`` configurations is promoted.
        seed: Source of all randomness.
        concurrency: Number of evaluations that may run at a time.
        kind: A name in `emotune.search.settings.SEARCHERS`.
        evaluations: Number of evaluations after which the search ends; None for no such limit.
        brackets: Number of brackets after which the search ends; None for no such limit.
        options: Further fields of `emotune.search.settings.SearchSettings`, and two functions of a configuration
            that are not part of the state. ``cost``: virtual seconds per epoch (default: 1); ``admits``: whether it
            may be trained (default: yes).

    Raises:
        SettingsError: A setting is impossible or unknown.
    """

    def __init__(  # noqa: PLR0913, PLR0917 (the contract with callers)
        self,
        space: ConfigurationSpace,
        min_budget: int = 1,
        max_budget: int = 27,
        eta: int = 3,
        seed: int = 0,
        concurrency: int = 1,
        kind: str = "bohb",
        evaluations: int | None = None,
        brackets: int | None = None,
        **options: Any,
    ) -> None:
        cost: Cost | None = options.pop("cost", None)
        admits = options.pop("admits", lambda values: True)
        named = {"seed": seed, "concurrency": concurrency, "evaluations": evaluations, "brackets": brackets}
        budget = {"min_budget": min_budget, "max_budget": max_budget, "eta": eta}
        settings = search_settings(kind, {**budget, **named, **options})
        self.fallbacks = 0
        self._cost = cost
        self._space = copy_of(space)
        self.settings: SearchSettings = fitted_settings(settings, space=self._space)
        self._settings_at_first = self.settings
        self._changes: tuple[Change, ...] = ()
        self._evaluations: list[Evaluation] = []
        self._epochs = 0
        self._losses: dict[int, float] = {}
        self._scoreboard = Scoreboard() if self.settings.ranking == "pareto" else None
        self._running: dict[int, Evaluation] = {}
        self._schedule = self.settings.new_schedule()
        self._clock = VirtualClock(self.settings.concurrency, see=self._see)
        self._history = History(self._space, earlier=self.settings.earlier, admits=admits)

    def ask(self) -> Evaluation | None:
        """Return the next evaluation; None if it depends on a missing result, or the search is over."""
        plan = self._next_plan()
        if plan is None:
            return None
        plan, proposal = self._decide(plan)
        evaluation = self._evaluation(plan, proposal=proposal)
        self._start(evaluation)
        return evaluation

    def tell(self, evaluation_id: int, loss: SupportsFloat | Score | None) -> None:
        """Record the result of an evaluation: a loss, or a score with ``ranking="pareto"``.

        None, nan and infinities are failures.

        Raises:
            SettingsError: There is no such evaluation, it has a result, or the result is of the other kind.
        """
        if not 0 <= evaluation_id < len(self._evaluations):
            raise SettingsError(
                f"evaluation {evaluation_id} does not exist; {len(self._evaluations)} were returned by ask"
            )
        if evaluation_id not in self._running:
            raise SettingsError(f"evaluation {evaluation_id} has a result; tell it once")
        value = record_loss(loss, evaluation_id=evaluation_id, scoreboard=self._scoreboard)
        del self._running[evaluation_id]
        self._losses[evaluation_id] = value
        if self.settings.order == "free":
            self._see(evaluation_id)

    @property
    def finished(self) -> bool:
        """Whether no evaluation runs and `ask` returns None."""
        return not self._running and self._next_plan() is None

    def extend(self, *, brackets: int | None = None, evaluations: int | None = None) -> None:
        """Continue a finished search up to new limits.

        Args:
            brackets: Brackets in all; None for no such limit.
            evaluations: Evaluations in all; None for no such limit.

        Raises:
            SettingsError: The search is not finished, or the new limits leave nothing to do, or no end.
        """
        if not self.finished:
            raise SettingsError("the search is not finished; it can be extended when it is")
        extension = Extension(after=len(self._evaluations), brackets=brackets, evaluations=evaluations)
        before, self.settings = self.settings, self.settings.model_copy(update=extension.limits)
        if extension.is_endless or self._next_plan() is None:
            self.settings = before
            ends = in_words(**before.limits), in_words(**extension.limits)
            raise SettingsError(
                f"the search has ended after {ends[0]}; expected a limit above that, but {ends[1]} was given"
            )
        self._changes += (extension,)

    def resize(self, workers: int) -> Resize | None:
        """Change the number of virtual workers; return the change, or None if the number is the same."""
        if workers == self.settings.concurrency:
            return None
        self._next_plan()  # advances the clock, so that its time does not depend on earlier calls of ask
        change = Resize(after=len(self._evaluations), seen=self._clock.ended, workers=workers)
        self._resize(change)
        return change

    def retry(self, evaluation_ids: Collection[int]) -> Retry:
        """Run failed evaluations again, and return the change.

        Earlier decisions stay as they are. Later ones depend on the new results; in strict order these come in virtual
        time as if the evaluations were started now.

        Args:
            evaluation_ids: Numbers of failed evaluations, at least one.

        Raises:
            SettingsError: One of them does not exist, runs, or has a finite loss.
        """
        self._next_plan()  # advances the clock, so that its time does not depend on earlier calls of ask
        change = Retry(
            after=len(self._evaluations),
            seen=self._clock.ended,
            changes=len(self._changes),
            evaluations=tuple(sorted(evaluation_ids)),
        )
        self._retry(change)
        return change

    def _retry(self, change: Retry) -> None:
        """Withdraw failures at the virtual time at which the change was decided."""
        self._advance_to(change.seen)
        for evaluation_id in change.evaluations:
            if evaluation_id >= len(self._evaluations) or self._losses.get(evaluation_id) != math.inf:
                raise SettingsError(f"evaluation {evaluation_id} has not failed; only failed evaluations run again")
        for evaluation_id in change.evaluations:
            evaluation = self._evaluations[evaluation_id]
            del self._losses[evaluation_id]
            self._running[evaluation_id] = evaluation
            if self.settings.order == "strict" and self._clock.is_running(evaluation_id):
                continue  # no decision has seen the failure
            for observer in (self._schedule, self._history):
                observer.withdraw(evaluation)
            if self.settings.order == "strict":
                self._clock.start(evaluation_id, seconds=self._seconds(evaluation))
        self._changes += (change,)

    def _advance_to(self, seen: int) -> None:
        """Advance the virtual clock until this number of evaluations has ended."""
        while self._clock.ended < seen and self._clock.advance(known=self._losses):
            pass
        if self._clock.ended != seen:
            raise SettingsError(f"{seen} evaluations had ended in virtual time before the change")

    def _resize(self, change: Resize) -> None:
        """Change the number of workers at the virtual time at which the change was decided."""
        self._advance_to(change.seen)
        self._clock.workers = change.workers
        self.settings = self.settings.model_copy(update={"concurrency": change.workers})
        self._changes += (change,)

    def running(self) -> list[Evaluation]:
        """Return the evaluations without a result, by number. A new driver starts these again."""
        return [self._running[number] for number in sorted(self._running)]

    def results(self) -> list[tuple[Evaluation, float | None]]:
        """Return the evaluations that have a result, each with its (first) loss; None for a failure."""
        ended = (evaluation for evaluation in self._evaluations if evaluation.id in self._losses)
        return [(evaluation, finite(self._losses[evaluation.id])) for evaluation in ended]

    def out_of_race(self) -> set[int]:
        """Return the configurations that are not promoted any more, also if the search is extended by one bracket.

        They have failed, have a result at the highest rung, or have more waiting configurations ahead of them than
        the remaining epochs can promote. A search without a limit keeps all that wait in the race.
        """
        last = {evaluation.config_id: evaluation for evaluation in self._evaluations}
        top = len(self.settings.rung_budgets) - 1
        candidates = self._schedule.candidates(
            candidates_left(self.settings, evaluations=len(self._evaluations), epochs=self._epochs)
        )
        out = set()
        for config_id, evaluation in last.items():
            loss = self._losses.get(evaluation.id)
            if loss is None:
                continue
            unseen = self.settings.order == "strict" and self._clock.is_running(evaluation.id)
            if evaluation.rung == top or loss == math.inf or not (unseen or config_id in candidates):
                out.add(config_id)
        return out

    def weights(self) -> dict[int, float]:
        """Return the weight of each rung in the model ``rungs``, by its budget in epochs; near 0 the rung misleads."""
        acquisition = importlib.import_module("emotune.search.models.acquisition")
        return {
            self.settings.rung_budgets[rung]: weight for rung, weight in acquisition.rung_weights(self._history).items()
        }

    def state(self) -> dict[str, Any]:
        """Return the settings, changes, evaluations and results as plain JSON, for `from_state`."""
        state = SearchState(
            space=space_digest(self._space),
            settings=self._settings_at_first.model_dump(mode="json"),
            extensions=tuple(change for change in self._changes if isinstance(change, Extension)),
            resizes=tuple(change for change in self._changes if isinstance(change, Resize)),
            retries=tuple(change for change in self._changes if isinstance(change, Retry)),
            evaluations=[
                outcome_of(evaluation, losses=self._losses, scoreboard=self._scoreboard)
                for evaluation in self._evaluations
            ],
        )
        return state.as_document()

    @classmethod
    def from_state(
        cls, space: ConfigurationSpace, state: Mapping[str, Any], *, cost: Cost | None = None
    ) -> "Optimizer":
        """Restore a search by replaying its decisions, without fitting a model.

        Args:
            space: The space it was started with.
            state: A document of `state`.
            cost: The virtual cost it was started with.

        Raises:
            StudyChangedError: The space differs from that of the state.
            DamageError: The document is not a state, or its decisions do not follow from its settings.
        """
        parsed = parse_state(state)
        if parsed.space != space_digest(space):
            raise StudyChangedError(
                "the search was started with another space; restore that space, or start a new search"
            )
        optimizer = cls(space, **parsed.settings, cost=cost)
        evaluations = [outcome.evaluation for outcome in parsed.evaluations]
        optimizer.replay(evaluations, losses=parsed.losses, changes=parsed.changes)
        return optimizer

    def replay(
        self, evaluations: Sequence[Evaluation], *, losses: Mapping[int, float | Score], changes: Sequence[Change] = ()
    ) -> None:
        """Apply recorded decisions and results, and check that they follow from the settings.

        Args:
            evaluations: All decisions, by number.
            losses: Results by evaluation, as `tell` takes them; infinity for a failure.
            changes: Extensions, resizes and retries, in order. Before a retry its evaluations had failed.

        Raises:
            DamageError: A configuration is not in the space, or the search was not finished when it was
                extended. In strict order: these decisions do not follow from the settings and the losses.
        """
        if not set(losses) <= {evaluation.id for evaluation in evaluations}:
            raise DamageError(f"there is a result of evaluation {max(losses)}, which was never started")
        retries = Counter(number for change in changes if isinstance(change, Retry) for number in change.evaluations)
        final = {
            number: record_loss(loss, evaluation_id=number, scoreboard=self._scoreboard)
            for number, loss in losses.items()
        }
        self._losses.update(final)
        self._losses.update(dict.fromkeys(retries, math.inf))
        retried: tuple[int, ...] = ()
        for change in changes:
            self._replay_part(evaluations[len(self._evaluations) : change.after], retried=retried)
            retried = ()
            try:
                self._replay_change(change)
            except SettingsError as error:
                raise DamageError(
                    f"a recorded change does not follow from the settings and results before it: {error}"
                ) from error
            if isinstance(change, Retry):
                retried = change.evaluations
                retries.subtract(retried)
                self._repeat_results(retried, losses={**final, **dict.fromkeys(+retries, math.inf)})
        self._replay_part(evaluations[len(self._evaluations) :], retried=retried)

    def _replay_change(self, change: Change) -> None:
        if isinstance(change, Resize):
            self._resize(change)
        elif isinstance(change, Retry):
            self._retry(change)
        else:
            self.extend(**change.limits)

    def _repeat_results(self, evaluation_ids: Sequence[int], *, losses: Mapping[int, float]) -> None:
        """Record the results that retried evaluations had later."""
        for evaluation_id in evaluation_ids:
            if evaluation_id in losses:
                self._losses[evaluation_id] = losses[evaluation_id]
                del self._running[evaluation_id]

    def _replay_part(self, evaluations: Sequence[Evaluation], *, retried: Sequence[int]) -> None:
        """Apply decisions that were made under the present limits, and the results of retried evaluations."""
        for evaluation in evaluations:
            self._check_follows(evaluation)
            self._start(evaluation)
        if self.settings.order == "free":
            for evaluation_id in (*retried, *(evaluation.id for evaluation in evaluations)):
                if evaluation_id in self._losses:
                    self._see(evaluation_id)

    def _check_follows(self, evaluation: Evaluation) -> None:
        """Raise unless a recorded decision is the one that follows from the settings and results."""
        plan = self._next_plan() if self.settings.order == "strict" else plan_of(evaluation)
        if plan is not None and self.settings.allocates:
            plan = self._allowed_plan(evaluation)
        is_promotion = plan is not None and plan.config_id in range(len(self._history.configurations))
        rung = min(max(evaluation.rung, 0), len(self.settings.rung_budgets) - 1)
        recorded = Proposal(evaluation.values, evaluation.origin, rung)
        proposal = self._decide(plan)[1] if plan and is_promotion and not self.settings.allocates else recorded
        expected = self._evaluation(plan, proposal=proposal) if plan else None
        if expected != evaluation:
            raise DamageError(
                f"recorded evaluation {evaluation.id} does not follow from the settings and the results "
                "before it; was the record changed, or the search started with other settings?"
            )
        if not is_promotion:
            check_recorded(evaluation, space=self._space)

    def _next_plan(self) -> Plan | None:
        if self.settings.is_over(evaluations=len(self._evaluations), epochs=self._epochs):
            return None
        if self.settings.order == "strict":
            return self._clock.decide(self._offer, known=self._losses)
        return self._offer() if len(self._running) < self.settings.concurrency else None

    def _offer(self) -> Plan | None:
        """Return the next plan of the schedule, None beyond the limits."""
        plan = self._schedule.next_plan()
        return None if self.settings.ends_before(plan.bracket) else plan

    def _allowed_plan(self, evaluation: Evaluation) -> Plan | None:
        """Return the plan of a recorded evaluation that a model chose, None if the rules do not allow it.

        The choice itself is not computed again: a resumed search does not depend on the last bits of a CPU's
        arithmetic.
        """
        plan = plan_of(evaluation)
        if plan.config_id is None:
            return plan
        # in free order, the results that a decision has seen are not known
        is_known = plan.config_id in range(len(self._history.configurations))
        is_free = self.settings.order == "free"
        return (
            plan
            if is_known and (is_free or self._history.may_be_promoted(plan.config_id, rung=plan.rung - 1))
            else None
        )

    def _decide(self, plan: Plan) -> tuple[Plan, Proposal]:
        """Return the plan that is carried out, with the values of a promoted or of a new configuration."""
        if plan.config_id is not None and not self.settings.allocates:
            return plan, Proposal(self._history.configurations[plan.config_id], "promotion")
        number = len(self._history.configurations)
        generator = stream(self.settings.seed, "configuration", number)
        history = self._history
        if self._scoreboard is not None:
            history = history.with_losses(self._scoreboard.scalarised(stream(self.settings.seed, "weights", number)))
        plan, proposal = decide(plan, space=self._space, history=history, settings=self.settings, generator=generator)
        self.fallbacks += proposal.fell_back
        return plan, proposal

    def _evaluation(self, plan: Plan, *, proposal: Proposal) -> Evaluation:
        is_new = plan.config_id is None
        budgets = self.settings.rung_budgets
        rung = proposal.rung if is_new and self.settings.chooses_start_rung else plan.rung
        return Evaluation(
            id=len(self._evaluations),
            config_id=len(self._history.configurations) if plan.config_id is None else plan.config_id,
            bracket=plan.bracket,
            rung=rung,
            from_epoch=0 if is_new else budgets[rung - 1],
            to_epoch=budgets[rung],
            values=proposal.values,
            origin=proposal.origin,
        )

    def _start(self, evaluation: Evaluation) -> None:
        """Record a decision."""
        self._epochs += evaluation.to_epoch - evaluation.from_epoch
        self._evaluations.append(evaluation)
        if evaluation.id not in self._losses:
            self._running[evaluation.id] = evaluation
        self._clock.start(evaluation.id, seconds=self._seconds(evaluation))
        self._schedule.started(evaluation)
        self._history.started(evaluation)

    def _seconds(self, evaluation: Evaluation) -> float:
        """Return the duration of an evaluation in virtual seconds."""
        seconds = 1.0 if self._cost is None else self._cost(evaluation.values)
        if not (math.isfinite(seconds) and seconds > 0):
            raise SettingsError(f"cost must be a number above 0, not {seconds}, for {evaluation.values}")
        return seconds * (evaluation.to_epoch - evaluation.from_epoch)

    def _see(self, evaluation_id: int) -> None:
        """Pass a result to the schedule and the history, on which decisions depend."""
        evaluation, loss = self._evaluations[evaluation_id], self._losses[evaluation_id]
        for observer in (self._schedule, self._history):
            observer.ended(evaluation, loss=loss)
        if self._scoreboard is not None and math.isfinite(loss):
            self._schedule.reorder(evaluation.rung, self._scoreboard.positions_with(evaluation))
