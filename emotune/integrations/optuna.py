"""The model of emotune as a sampler of Optuna: `EmotuneSampler`.

Optuna decides what is trained and for how long. A trial of Optuna starts at epoch 0 and is not resumed, so promotion
from checkpoints, the journal and the schedule of emotune are not part of this module; a pruner of Optuna takes their
place.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ConfigSpace import (
    CategoricalHyperparameter,
    ConfigurationSpace,
    Constant,
    OrdinalHyperparameter,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)
from ConfigSpace.hyperparameters import Hyperparameter
from optuna import Study, Trial
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from emotune.errors import SettingsError
from emotune.search.history import History
from emotune.search.proposals import sample
from emotune.search.records import Evaluation, Value
from emotune.search.schedule import rungs
from emotune.search.settings import SearchSettings
from emotune.search.space import copy_of, legal_values, plain

Distributions = dict[str, BaseDistribution]


class WithoutPrior(SearchSettings):
    """Settings of a search whose default is no prior: Optuna has no defaults, so it is the centre of the space."""

    @property
    def uses_prior(self) -> bool:
        """Whether some configurations are drawn near the default: never."""
        return False


class EmotuneSampler(BaseSampler):
    """Proposes configurations by multi-fidelity Gaussian processes, from final and intermediate values of trials.

    A proposal is a function of the seed, the trial's number and the trials in the study. A study in a database
    therefore continues after a kill as if it had not been interrupted, if its trials run one at a time.

    The first trial is the centre of the space (or the default of ``space``), and a fifth of the others is random.
    A failed trial, and one whose value is not finite, counts as the worst result. Categorical choices are unordered.

    Args:
        max_budget: Number of values that a complete trial reports, usually one per epoch; None: the largest number
            that a trial of the study has reported.
        min_budget: Number of values that a trial reports before it is first compared.
        eta: Factor between compared numbers of values, as in Optuna's pruners.
        space: The search space, if it has conditions or an ordinal hyperparameter; `suggest` asks a trial for its
            values. None: the hyperparameters that all trials have in common, as other samplers of Optuna do.
        seed: Seed of all proposals.
        model: A model of emotune: ``gain`` or ``rungs``.

    Raises:
        SettingsError: A setting is impossible.

    Example:
        >>> sampler = EmotuneSampler(max_budget=27)
        >>> study = optuna.create_study(sampler=sampler, pruner=optuna.pruners.HyperbandPruner(1, 27))
        >>> study.optimize(objective, n_trials=100)
    """

    def __init__(
        self,
        *,
        max_budget: int | None = None,
        min_budget: int = 1,
        eta: int = 3,
        space: ConfigurationSpace | None = None,
        seed: int = 0,
        model: str = "gain",
    ) -> None:
        if max_budget is not None and not 1 <= min_budget <= max_budget:
            raise SettingsError(
                f"max_budget: {max_budget} was given; expected at least min_budget, which is {min_budget}"
            )
        self._budget = (min_budget, max_budget, eta)
        self._settings = WithoutPrior(schedule="full", model=model, seed=seed)
        self._space = None if space is None else copy_of(space)
        self._distributions = {name: distribution_of(hyperparameter) for name, hyperparameter in (space or {}).items()}
        self._intersection = IntersectionSearchSpace(include_pruned=True)
        self._independent = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Distributions:
        """Return the distributions of the hyperparameters that are proposed together."""
        del trial
        if self._space is not None:
            return dict(self._distributions)
        common = self._intersection.calculate(study)
        return {name: distribution for name, distribution in common.items() if not distribution.single()}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: Distributions) -> dict[str, Any]:
        """Return the values of a trial; those of inactive hyperparameters are missing.

        Raises:
            SettingsError: The study has several objectives.
        """
        if len(study.directions) != 1:
            raise SettingsError(f"EmotuneSampler: the study has {len(study.directions)} objectives; expected one")
        if not search_space:
            return {}
        codes: dict[str, Code | None] = dict.fromkeys(search_space)
        space = self._space
        if space is None:
            numbered = {name: Code(distribution) for name, distribution in search_space.items()}
            space = ConfigurationSpace({name: code.hyperparameter(name) for name, code in numbered.items()})
            codes |= numbered
        history = self._history(study, space=space, codes=codes)
        generator = np.random.default_rng([self._settings.seed, trial.number])
        space.seed(int(generator.integers(2**31)))
        proposal = sample(space, history=history, settings=self._settings, generator=generator)
        return {name: _decoded(value, code=codes[name]) for name, value in proposal.values.items()}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a random value of a hyperparameter that is not proposed together with the others."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        """Seed the independent values anew, for another process."""
        self._independent.reseed_rng()

    def _history(self, study: Study, *, space: ConfigurationSpace, codes: Mapping[str, "Code | None"]) -> History:
        """Return the trials of a study as configurations with losses by rung."""
        history = History(space)
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        trials = study.get_trials(deepcopy=False)
        budgets = self._budgets(trials)
        for trial in trials:
            if not trial.params.keys() & codes.keys():
                continue
            encoded = {name: _encoded(trial.params[name], code=codes[name]) for name in codes if name in trial.params}
            values = {name: value for name, value in encoded.items() if value is not None}
            legal = legal_values(space, values=values) if len(values) == len(encoded) else None
            losses = losses_of(trial, budgets=budgets, sign=sign)
            reached = losses if trial.state.is_finished() else {*losses, len(budgets) - 1}
            if legal is not None and reached:
                _record(history, values=legal, losses=losses, rungs=sorted(reached))
        return history

    def _budgets(self, trials: Sequence[FrozenTrial]) -> tuple[int, ...]:
        """Return the numbers of values after which trials are compared."""
        lowest, highest, eta = self._budget
        if highest is None:
            highest = max((len(trial.intermediate_values) for trial in trials), default=0)
        return rungs(min(lowest, highest), highest, eta) if highest else (1,)


def losses_of(trial: FrozenTrial, *, budgets: Sequence[int], sign: float) -> dict[int, float]:
    """Return the loss of each rung that a trial has reached; infinity for failures.

    Args:
        trial: The trial.
        budgets: Numbers of reported values at the rungs.
        sign: 1 if values are minimised, -1 if they are maximised.
    """
    reported = [value for _, value in sorted(trial.intermediate_values.items())]
    values = {rung: reported[budget - 1] for rung, budget in enumerate(budgets) if budget <= len(reported)}
    if trial.state == TrialState.PRUNED and reported and not values:
        values = {0: reported[-1]}
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        values[len(budgets) - 1] = trial.value
    if trial.state == TrialState.FAIL:
        values = {0: math.nan}
    return {rung: sign * value if math.isfinite(value) else math.inf for rung, value in values.items()}


def suggest(trial: Trial, space: ConfigurationSpace) -> dict[str, Value]:
    """Ask a trial for all active values of a space, the conditions included.

    Args:
        trial: A running trial of a study whose sampler is an `EmotuneSampler` with this space, or any other.
        space: The search space.

    Returns:
        Values by name, without inactive ones.
    """
    values: dict[str, Any] = {}
    for name in space:
        conditions = space.parent_conditions_of[name]
        if all(_satisfied(condition, values=values) for condition in conditions):
            values[name] = trial._suggest(name, distribution_of(space[name]))
    return values


def _satisfied(condition: Any, *, values: Mapping[str, Any]) -> bool:
    names = {parent.name for parent in getattr(condition, "parents", None) or [condition.parent]}
    return names <= values.keys() and condition.satisfied_by_value(values)


def distribution_of(hyperparameter: Hyperparameter) -> BaseDistribution:
    """Return a hyperparameter of ConfigSpace as a distribution of Optuna.

    Raises:
        SettingsError: Its kind has no distribution of Optuna, for example a normal prior.
    """
    match hyperparameter:
        case UniformFloatHyperparameter():
            return FloatDistribution(hyperparameter.lower, hyperparameter.upper, log=hyperparameter.log)
        case UniformIntegerHyperparameter():
            return IntDistribution(hyperparameter.lower, hyperparameter.upper, log=hyperparameter.log)
        case CategoricalHyperparameter():
            return CategoricalDistribution([plain(choice) for choice in hyperparameter.choices])
        case OrdinalHyperparameter():
            return CategoricalDistribution([plain(choice) for choice in hyperparameter.sequence])
        case Constant():
            return CategoricalDistribution([plain(hyperparameter.value)])
    raise SettingsError(
        f"{hyperparameter.name}: {type(hyperparameter).__name__} has no distribution of Optuna; "
        "expected a uniform, categorical, ordinal or constant hyperparameter"
    )


class Code:
    """A distribution of Optuna as a hyperparameter of ConfigSpace: choices and steps are numbered from 0.

    Args:
        distribution: The distribution.
    """

    def __init__(self, distribution: BaseDistribution) -> None:
        self.distribution = distribution
        self.step: float | None = None
        if isinstance(distribution, FloatDistribution) or (
            isinstance(distribution, IntDistribution) and distribution.step > 1
        ):
            self.step = distribution.step

    def hyperparameter(self, name: str) -> Hyperparameter:
        """Return the hyperparameter."""
        distribution = self.distribution
        if isinstance(distribution, CategoricalDistribution):
            return CategoricalHyperparameter(name, range(len(distribution.choices)))
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        if self.step is not None:
            return UniformIntegerHyperparameter(name, 0, round((distribution.high - distribution.low) / self.step))
        kind = (
            UniformFloatHyperparameter if isinstance(distribution, FloatDistribution) else UniformIntegerHyperparameter
        )
        return kind(name, distribution.low, distribution.high, log=distribution.log)

    def encode(self, value: Any) -> Value | None:
        """Return the hyperparameter's value for one of Optuna; None if it is not in the distribution."""
        distribution = self.distribution
        if isinstance(distribution, CategoricalDistribution):
            return distribution.choices.index(value) if value in distribution.choices else None
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        if not distribution.low <= value <= distribution.high:
            return None
        return value if self.step is None else round((value - distribution.low) / self.step)

    def decode(self, value: Value) -> Any:
        """Return Optuna's value."""
        distribution = self.distribution
        if isinstance(distribution, CategoricalDistribution):
            return distribution.choices[int(value)]
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        return value if self.step is None else distribution.low + self.step * int(value)


def _encoded(value: Any, *, code: Code | None) -> Value | None:
    return value if code is None else code.encode(value)


def _decoded(value: Value, *, code: Code | None) -> Any:
    return value if code is None else code.decode(value)


def _record(history: History, *, values: dict[str, Value], losses: Mapping[int, float], rungs: Sequence[int]) -> None:
    """Add a configuration with its results; a rung without a loss is running."""
    number = len(history.configurations)
    for rung in rungs:
        evaluation = Evaluation(
            id=number,
            config_id=number,
            bracket=0,
            rung=rung,
            from_epoch=0,
            to_epoch=rung + 1,
            values=values,
            origin="model",
        )
        history.started(evaluation)
        if rung in losses:
            history.ended(evaluation, loss=losses[rung])
