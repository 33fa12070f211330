"""Contract of every task of the table."""

import importlib
import math
import pkgutil

import numpy as np
import pandas as pd
import pytest
import torch

from emotune import tasks
from emotune.data.batches import Batch
from emotune.models import Transformer
from emotune.tasks import TASKS, MaskedValues, Objective, TaskSettings

MODEL = Transformer(channels=(4, 8), kernels=(5, 3), feedforward=8)
INDEX = pd.DataFrame(
    {
        "corpus": "c",
        "subject": ["a", "b", "c", "c"],
        "session": "1",
        "rating_arousal": [1.0, 9.0, 3.0, 2.0],
        "rating_valence": [9.0, 1.0, 8.5, 2.0],
    }
)


@pytest.fixture(params=TASKS, ids=lambda task: task.__name__)
def settings(request: pytest.FixtureRequest) -> TaskSettings:
    return request.param()


@pytest.fixture
def objective(settings: TaskSettings) -> Objective:
    torch.manual_seed(0)
    return settings.build(MODEL.build(channels=1), channels=1, labels=settings.labels(INDEX))


@pytest.fixture
def batch(settings: TaskSettings) -> Batch:
    """Four groups of segments that a task compares with each other; most tasks compare none, so four segments."""
    count = 4 * settings.compared
    labels = settings.labels(pd.concat([INDEX] * settings.compared, ignore_index=True))
    label = None if labels is None else torch.from_numpy(labels.astype(np.float32))
    return Batch(signals=torch.randn(count, 1, 64), label=label, rows=torch.arange(count))


def test_json_restores_its_settings(settings: TaskSettings) -> None:
    assert type(settings).model_validate_json(settings.model_dump_json()) == settings


def test_the_loss_is_finite_and_has_gradients(objective: Objective, batch: Batch) -> None:
    loss = objective.loss(batch, generator=torch.Generator().manual_seed(0))
    assert loss.shape == ()
    assert math.isfinite(loss.item())
    loss.backward()
    assert any(parameter.grad is not None for parameter in objective.encoder.parameters())


def test_the_objective_contains_every_parameter_of_the_encoder(objective: Objective) -> None:
    inside = {id(parameter) for parameter in objective.parameters()}
    assert all(id(parameter) in inside for parameter in objective.encoder.parameters())
    assert len(inside) > len(list(objective.encoder.parameters()))


@pytest.mark.parametrize("cut", [1, 2])
def test_sums_and_losses_of_the_parts_of_a_joint_batch_add_up_to_those_of_the_whole(
    objective: Objective, batch: Batch, cut: int
) -> None:
    objective.eval()
    with torch.no_grad():
        whole, loss = sums_of(objective, batch), loss_of(objective, batch)
        cut, end = cut * objective.group, 4 * objective.group
        parts = [part_of(batch, part) for part in (slice(cut), slice(cut, end))]
        assert sum(loss_of(objective, part) for part in parts) == pytest.approx(loss, rel=1e-5)
        partial = [sums_of(objective, part) for part in parts]
    for name, value in whole.items():
        assert sum(sums[name] for sums in partial) == pytest.approx(value, rel=1e-5), name
    assert "loss" in objective.summarise(whole)


def sums_of(objective: Objective, batch: Batch) -> dict[str, float]:
    return objective.measure(batch, generator=torch.Generator().manual_seed(3))


def loss_of(objective: Objective, batch: Batch) -> float:
    return objective.loss(batch, generator=torch.Generator().manual_seed(3)).item()


def part_of(batch: Batch, part: slice) -> Batch:
    label = None if batch.label is None else batch.label[part]
    return Batch(batch.signals[part], label, batch.rows[part], offset=part.start or 0, joint=len(batch.rows))


ALTERNATIVES: dict[str, dict[str, object]] = {
    "masked_values": {
        "start_probability": 0.2,
        "span": 3,
        "validation": {"start_probability": 0.2, "span": 3},
        "probe": {"target": "valence"},
    },
    "classify": {
        "target": "valence",
        "high": "",
        "classes": [],
        "threshold": 2.5,
        "class_weight": "none",
        "shuffled": True,
    },
    "recognise_transformation": {
        "snr": 1.0,
        "scaling": 2.0,
        "pieces": 3,
        "warp_pieces": 3,
        "warp_factor": 2.0,
        "weights": [1, 2, 3, 4, 5, 6, 7],
        "l2": 0.5,
        "probe": {"target": "valence"},
    },
    "contrastive": {
        "views": "halves",
        "positives": "person",
        "group": 2,
        "temperature": 1.0,
        "scaling": 3.0,
        "noise": 1.0,
        "masked": 0.5,
        "probe": {"target": "valence"},
    },
}
"""Another value of each setting that is not one of the network."""


def test_every_setting_is_of_the_network_or_has_another_value_here(settings: TaskSettings) -> None:
    names = set(type(settings).model_fields) - {"kind"}
    assert names - settings.network == set(ALTERNATIVES[str(settings.model_dump()["kind"])])


def test_a_task_reports_the_metrics_that_it_names(settings: TaskSettings) -> None:
    assert set(values_at_fixed_weights(settings)) == set(settings.metrics)
    assert settings.selection[0].removeprefix("val/") in settings.metrics


def test_a_setting_outside_the_yardstick_changes_no_metric_at_fixed_weights(settings: TaskSettings) -> None:
    before = values_at_fixed_weights(settings)
    for name, value in ALTERNATIVES[str(settings.model_dump()["kind"])].items():
        if name in {"high", "classes", "shuffled"}:  # two need another target, the last changes training labels only
            continue
        other = type(settings).model_validate(settings.model_dump() | {name: value})
        after = values_at_fixed_weights(other)
        for metric in settings.metrics:
            changed = after[metric] != pytest.approx(before[metric], rel=1e-9)
            assert changed <= (name in settings.yardstick(f"val/{metric}")), (name, metric)
        if any(name in settings.yardstick(f"val/{metric}") for metric in settings.metrics):
            assert after != pytest.approx(before, rel=1e-9), f"{name} changes no metric"


def test_a_probe_is_the_yardstick_of_its_scores_alone(settings: TaskSettings) -> None:
    if "probe" not in type(settings).model_fields:
        assert settings.probe_settings() is None
        return
    assert set(settings.yardstick("probe/macro_f1")) == {"probe"}
    assert "probe" not in settings.yardstick("val/loss")
    probed = type(settings).model_validate({**settings.model_dump(), "probe": {"target": "valence"}})
    assert probed.probe_settings() is not None


def test_without_a_mask_for_the_validation_the_mask_of_the_training_is_in_the_yardstick() -> None:
    task = MaskedValues(validation=None)
    assert {"start_probability", "span"} <= set(task.yardstick("val/loss"))
    assert not {"start_probability", "span"} & set(MaskedValues().yardstick("val/loss"))
    other = values_at_fixed_weights(MaskedValues(validation=None, span=3))
    assert values_at_fixed_weights(task) != other


def values_at_fixed_weights(settings: TaskSettings) -> dict[str, float]:
    """Return the metrics of four segments by a network whose weights do not depend on the settings."""
    torch.manual_seed(0)
    labels = settings.labels(INDEX)
    objective = settings.build(MODEL.build(channels=1), channels=1, labels=labels).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        label = None if labels is None else torch.from_numpy(labels.astype(np.float32))
        signals = torch.randn(4, 1, 128, generator=generator)
        batch = Batch(signals=signals, label=label, rows=torch.arange(4))
        return objective.summarise(sums_of(objective, batch))


def test_every_task_is_in_the_table() -> None:
    for module in pkgutil.iter_modules(tasks.__path__):
        importlib.import_module(f"emotune.tasks.{module.name}")
    assert set(TaskSettings.__subclasses__()) == set(TASKS)
