"""Contract of every model of the table."""

import importlib
import pkgutil

import pytest
import torch

from emotune import models
from emotune.experiment import Experiment
from emotune.models import MODELS, ModelSettings

SMALL = {
    "transformer": {"channels": (4, 8), "kernels": (5, 3), "feedforward": 8},
    "convnet": {"channels": (4, 8), "kernels": (5, 4)},
    "features": {"width": 60},
}
TASK = {"kind": "classify"}


@pytest.fixture(params=MODELS, ids=lambda model: model.__name__)
def settings(request: pytest.FixtureRequest) -> ModelSettings:
    model = request.param
    return model.model_validate(SMALL[model.model_fields["kind"].default])


def test_json_restores_its_settings(settings: ModelSettings) -> None:
    assert type(settings).model_validate_json(settings.model_dump_json()) == settings


def test_an_experiment_accepts_it(settings: ModelSettings) -> None:
    experiment = Experiment.model_validate({"model": settings.model_dump(mode="json"), "task": TASK})
    assert Experiment.model_validate_json(experiment.model_dump_json()).model == settings


@pytest.mark.parametrize("channels", [1, 10])
def test_returns_a_representation_of_its_width(settings: ModelSettings, channels: int) -> None:
    encoder = settings.build(channels=channels).eval()
    signals = torch.randn(3, channels, 60)
    summary = encoder.summarise(signals)
    assert summary.shape == (3, encoder.width)
    assert torch.equal(summary, encoder.summarise(signals))


def test_can_be_exported_for_any_number_of_signals(settings: ModelSettings) -> None:
    class Summary(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = settings.build(channels=1).eval()

        def forward(self, signals: torch.Tensor) -> torch.Tensor:
            return self.encoder.summarise(signals)

    module = Summary()
    batch = {"signals": {0: torch.export.Dim("batch")}}
    exported = torch.export.export(module, (torch.randn(2, 1, 60),), dynamic_shapes=batch).module()
    signals = torch.randn(5, 1, 60)
    torch.testing.assert_close(exported(signals), module(signals))


def test_flops_grow_with_the_signal(settings: ModelSettings) -> None:
    assert 0 < settings.flops(channels=1, samples=100) < settings.flops(channels=1, samples=200)


def test_every_model_is_in_the_table() -> None:
    for module in pkgutil.iter_modules(models.__path__):
        importlib.import_module(f"emotune.models.{module.name}")
    assert set(ModelSettings.__subclasses__()) == set(MODELS)


@pytest.mark.parametrize(
    ("kind", "operations"), [("transformer", 9_519_138_816.0), ("convnet", 335_609_856.0), ("features", 1280.0)]
)
def test_the_cost_of_an_epoch_is_that_of_recorded_searches(kind: str, operations: float) -> None:
    experiment = Experiment.model_validate({"model": {"kind": kind}, "task": TASK})
    assert experiment.cost() == operations
    other = experiment.with_values({"store": "another", "batch_size": 7, "compute.threads": 2, "seed": 5})
    assert other.cost() == operations
