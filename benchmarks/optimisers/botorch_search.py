"""BoTorch: multi-fidelity max-value entropy search with a cost of each rung, as in its tutorials on fidelities."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from botorch.acquisition import FixedFeatureAcquisitionFunction, PosteriorMean
from botorch.acquisition.cost_aware import InverseCostWeightedUtility
from botorch.acquisition.max_value_entropy_search import qMultiFidelityMaxValueEntropy
from botorch.acquisition.utils import project_to_target_fidelity
from botorch.exceptions import BotorchWarning
from botorch.fit import fit_gpytorch_mll
from botorch.models import AffineFidelityCostModel, SingleTaskMultiFidelityGP
from botorch.models.transforms import Standardize
from botorch.optim import optimize_acqf, optimize_acqf_mixed
from botorch.utils.sampling import manual_seed
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import FloatHyperparameter, Hyperparameter, IntegerHyperparameter
from gpytorch.mlls import ExactMarginalLogLikelihood
from linear_operator.utils.warnings import NumericalWarning
from torch import Tensor

from benchmarks.optimisers.checkpoints import Checkpoints
from benchmarks.optimisers.conditions import active_only
from benchmarks.problems import EPOCHS, LADDER, Values
from benchmarks.simulation import Task, Work

INITIAL = 16
"""Random configurations at random rungs before the first model, as in the tutorial."""

FIXED_COST = 3.0
"""Fixed part of the cost of an evaluation (epochs). It limits the number of decisions, which take a second each."""

RECOMMENDATION_EPOCHS = 4 * EPOCHS
"""Epochs between two evaluations of the configuration with the best posterior mean at the last rung."""

CANDIDATES = 256
"""Random points from which the maximum of the objective is sampled."""

RAW_SAMPLES = 64
"""Points from which the starts of an optimisation are chosen."""

RESTARTS = 2
"""Starts of an optimisation of the acquisition function, per rung."""

ITERATIONS = 15
"""Largest number of iterations of an optimisation of the acquisition function or of the mean."""

warnings.filterwarnings("ignore", category=BotorchWarning)
warnings.filterwarnings("ignore", category=NumericalWarning)


class Botorch:
    """`qMultiFidelityMaxValueEntropy` with `SingleTaskMultiFidelityGP` and `AffineFidelityCostModel`."""

    def __init__(self, task: Task) -> None:
        self._encoding = Encoding(task.space)
        self._seed = task.seed
        self._random = np.random.default_rng(task.seed)
        self._checkpoints = Checkpoints()
        self._points: list[Tensor] = []
        self._losses: list[float] = []
        self._running: dict[int, Work] = {}
        self._model: SingleTaskMultiFidelityGP | None = None
        self._count = 0
        self._since_recommendation = 0

    def ask(self) -> Work:
        """Return the next evaluation, from the checkpoint of its values if there is one."""
        with manual_seed(self._seed + self._count):
            values, end = self._propose()
        start = self._checkpoints.epochs(values)
        if start >= end:  # a space of few configurations: the next rung of the same values, or other values
            values = values if start < EPOCHS else self._untrained()
            start = self._checkpoints.epochs(values)
            end = next(epochs for epochs in LADDER if epochs > start)
        self._checkpoints.trained(values, epochs=end)
        work = Work(self._count, values, start, end)
        self._running[self._count] = work
        self._count += 1
        self._since_recommendation += end - start
        return work

    def tell(self, work: Work, losses: Sequence[float]) -> None:
        """Give the model the loss at each rung that was passed; a diverged one has the worst loss so far."""
        assert isinstance(work.key, int)
        del self._running[work.key]
        for epochs in LADDER:
            if work.from_epoch < epochs <= work.to_epoch:
                loss = losses[min(epochs - work.from_epoch, len(losses)) - 1]
                worst = max(self._losses, default=1.0)
                self._points.append(self._encoding.encode(work.values, epochs=epochs))
                self._losses.append(loss if np.isfinite(loss) else worst)

    def _propose(self) -> tuple[Values, int]:
        if self._count < INITIAL or len(self._losses) < INITIAL // 2:
            return self._encoding.draw(self._random), int(self._random.choice(LADDER))
        model = self._fit()
        if self._since_recommendation >= RECOMMENDATION_EPOCHS:
            self._since_recommendation = 0
            values = self._encoding.decode(self._recommend(model))
            if self._checkpoints.epochs(values) < EPOCHS:
                return values, EPOCHS
        point = self._maximise_entropy(model)
        return self._encoding.decode(point), round(float(point[-1]) * EPOCHS)

    def _fit(self) -> SingleTaskMultiFidelityGP:
        points, losses = torch.stack(self._points), torch.tensor(self._losses, dtype=torch.double)
        model = SingleTaskMultiFidelityGP(
            points, -losses.unsqueeze(-1), data_fidelities=[points.shape[1] - 1], outcome_transform=Standardize(m=1)
        )
        if self._model is not None:  # the last hyperparameters are nearly the best ones: a fit takes fewer steps
            for name in ("mean_module", "covar_module", "likelihood"):
                getattr(model, name).load_state_dict(getattr(self._model, name).state_dict())
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        self._model = model
        return model

    def _recommend(self, model: SingleTaskMultiFidelityGP) -> Tensor:
        """Return the point with the best posterior mean at the last rung."""
        size = self._encoding.size
        mean = FixedFeatureAcquisitionFunction(PosteriorMean(model), d=size + 1, columns=[size], values=[1.0])
        point, _ = optimize_acqf(
            mean,
            _bounds(size),
            q=1,
            num_restarts=RESTARTS,
            raw_samples=RAW_SAMPLES,
            options={"maxiter": ITERATIONS},
            post_processing_func=self._encoding.rounded,
        )
        return point.squeeze(0)

    def _maximise_entropy(self, model: SingleTaskMultiFidelityGP) -> Tensor:
        """Return the point and the rung with the largest gain of information on the maximum, per cost."""
        size = self._encoding.size
        pending = [self._encoding.encode(work.values, epochs=work.to_epoch) for work in self._running.values()]
        cost = AffineFidelityCostModel(fidelity_weights={size: 1.0}, fixed_cost=FIXED_COST / EPOCHS)
        entropy = qMultiFidelityMaxValueEntropy(
            model,
            candidate_set=torch.rand(CANDIDATES, size, dtype=torch.double),
            X_pending=torch.stack(pending) if pending else None,
            cost_aware_utility=InverseCostWeightedUtility(cost_model=cost),
            project=lambda points: project_to_target_fidelity(points, target_fidelities={size: 1.0}, d=size + 1),
        )
        point, _ = optimize_acqf_mixed(
            entropy,
            _bounds(size + 1),
            q=1,
            num_restarts=RESTARTS,
            raw_samples=RAW_SAMPLES,
            options={"maxiter": ITERATIONS},
            fixed_features_list=[{size: epochs / EPOCHS} for epochs in LADDER],
            post_processing_func=self._encoding.rounded,
        )
        return point.squeeze(0)

    def _untrained(self) -> Values:
        """Draw a configuration that has not been trained for all epochs; any, if there is none in many draws."""
        for _ in range(1000):
            values = self._encoding.draw(self._random)
            if self._checkpoints.epochs(values) < EPOCHS:
                return values
        raise AssertionError("all configurations have been trained for all epochs")


class Encoding:
    """Configurations as points of the unit cube.

    Categorical hyperparameters are one-hot, integers are rounded, inactive hyperparameters are at the middle of their
    range or equal for all choices.
    """

    def __init__(self, space: ConfigurationSpace) -> None:
        self._space = space
        widths = [1 if _is_number(space[name]) else len(space[name].choices) for name in space]
        ends = np.cumsum(widths).tolist()
        self._columns = {name: slice(end - width, end) for name, end, width in zip(space, ends, widths, strict=True)}
        self.size: int = ends[-1]

    def draw(self, random: np.random.Generator) -> Values:
        """Draw a configuration."""
        return self.decode(torch.from_numpy(random.random(self.size)))

    def encode(self, values: Values, *, epochs: int) -> Tensor:
        """Return the point of a configuration; its last coordinate is the share of the epochs of a full evaluation."""
        point = torch.empty(self.size + 1, dtype=torch.double)
        for name, columns in self._columns.items():
            point[columns] = self._encode(self._space[name], values.get(name))
        point[-1] = epochs / EPOCHS
        return point

    def _encode(self, about: Any, value: Any) -> Tensor:
        if _is_number(about):
            return torch.tensor([0.5 if value is None else float(about.to_vector(value))], dtype=torch.double)
        choices = len(about.choices)
        if value is None:
            return torch.full((choices,), 1 / choices, dtype=torch.double)
        return torch.eye(choices, dtype=torch.double)[int(about.to_vector(value))]

    def decode(self, point: Tensor) -> Values:
        """Return the configuration of a point, without its inactive hyperparameters."""
        values = {name: self._decode(self._space[name], point[columns]) for name, columns in self._columns.items()}
        return active_only(self._space, values=values)

    def _decode(self, about: Any, part: Tensor) -> Any:
        value = about.to_value(float(part[0].clamp(0, 1)) if _is_number(about) else int(part.argmax()))
        return value.item() if isinstance(value, np.generic) else value

    def rounded(self, points: Tensor) -> Tensor:
        """Return the points of the configurations that points (..., size or size + 1) are decoded to."""
        rows = points.reshape(-1, points.shape[-1])
        encoded = [self.encode(self.decode(row), epochs=EPOCHS)[: self.size] for row in rows]
        return torch.cat([torch.stack(encoded), rows[:, self.size :]], dim=-1).reshape(points.shape)


def _is_number(about: Hyperparameter) -> bool:
    return isinstance(about, FloatHyperparameter | IntegerHyperparameter)


def _bounds(size: int) -> Tensor:
    return torch.tensor([[0.0] * size, [1.0] * size], dtype=torch.double)
