"""Aggregations: what is pooled, its width, and that a single row is computed where a single row is read."""

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from emotune.errors import SettingsError
from emotune.models import ConvNet, Transformer
from emotune.tasks import Classify
from emotune.tasks.aggregation import Aggregate, Aggregation
from emotune.tasks.classify import ClassifyObjective

MODEL = Transformer(channels=(4, 8), kernels=(5, 3), heads=2, feedforward=16)
PUBLISHED_WIDTHS = {"class": 256, "last": 256, "max": 256, "average": 256, "max-groups": 128, "average-groups": 1024}
LABELS = np.array([0.0, 1.0])


def objective_of(aggregate: Aggregate, *, model: Transformer = MODEL, channels: int = 1) -> ClassifyObjective:
    torch.manual_seed(0)
    task = Classify.model_validate({"aggregate": aggregate, "hidden": (6,)})
    return task.build(model.build(channels=channels), channels=channels, labels=LABELS).eval()


@pytest.mark.parametrize("aggregate", get_args(Aggregate))
def test_published_widths(aggregate: Aggregate) -> None:
    encoder = Transformer(layers=1).build(channels=1)
    aggregation = Aggregation(aggregate, encoder=encoder)
    assert aggregation.width == PUBLISHED_WIDTHS[aggregate]
    parameters = sum(parameter.numel() for parameter in aggregation.parameters())
    assert parameters == (256 * 64 + 64 if aggregate == "max-groups" else 0)


@pytest.mark.parametrize("samples", [40, 43])
@pytest.mark.parametrize("aggregate", get_args(Aggregate))
def test_equals_pooling_the_whole_sequence_by_hand(aggregate: Aggregate, samples: int) -> None:
    objective = objective_of(aggregate)
    signals = torch.randn(3, 1, samples)
    with torch.no_grad():
        everything = objective.encoder(signals).numpy()
        got = objective.aggregation(signals, encoder=objective.encoder).numpy()
        narrowed = objective.aggregation.narrow(torch.from_numpy(everything)).numpy()
    by_sample = everything[:, 1:]
    expected = {
        "class": everything[:, 0],
        "last": everything[:, samples],
        "max": by_sample.max(axis=1),
        "average": by_sample.mean(axis=1),
        "max-groups": pooled(narrowed[:, 1:], np.max, parts=2),
        "average-groups": pooled(by_sample, np.mean, parts=4),
    }[aggregate]
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert objective.aggregation.width == got.shape[1]


def pooled(states: np.ndarray, pool: Callable[..., np.ndarray], *, parts: int) -> np.ndarray:
    return np.concatenate([pool(part, axis=1) for part in np.array_split(states, parts, axis=1)], axis=1)


@pytest.mark.parametrize(("aggregate", "rows"), [("class", 1), ("last", 1), ("max", 51)])
def test_the_last_block_is_computed_for_what_is_read(aggregate: Aggregate, rows: int) -> None:
    objective = objective_of(aggregate)
    seen: list[int] = []
    widen = objective.encoder.get_submodule("blocks.1.widen")
    widen.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
    objective.logits(torch.randn(2, 1, 50))
    assert seen == [rows]


@pytest.mark.parametrize("aggregate", get_args(Aggregate))
def test_weights_of_the_class_token_have_their_old_names_and_all_parameters_have_gradients(
    aggregate: Aggregate,
) -> None:
    objective = objective_of(aggregate, channels=10).train()
    names = {name for name in objective.state_dict() if not name.startswith(("encoder.", "head."))}
    assert names == ({"aggregation.narrow.weight", "aggregation.narrow.bias"} if aggregate == "max-groups" else set())
    objective.logits(torch.randn(4, 10, 50)).square().sum().backward()
    for name, parameter in objective.named_parameters():
        if not name.endswith("project_in.bias"):  # a shift of all keys is invisible to softmax
            assert parameter.grad is not None
            assert parameter.grad.abs().sum() > 0, name


def test_an_encoder_without_a_sequence_has_only_its_summary() -> None:
    encoder = ConvNet().build(channels=1)
    assert Aggregation("class", encoder=encoder).width == encoder.width
    with pytest.raises(SettingsError, match=r"task\.aggregate: 'last' was given, but this model gives one"):
        Aggregation("last", encoder=encoder)


@pytest.mark.parametrize(
    ("aggregate", "settings", "width"),
    [
        ("max-groups", {}, 128),
        ("max-groups", {"groups": 5, "narrowed": 3}, 15),
        ("average-groups", {}, 32),
        ("average-groups", {"groups": 3}, 24),
    ],
)
def test_groups_and_their_width_are_settings(aggregate: str, settings: dict, width: int) -> None:
    encoder = Transformer(channels=(4, 8), kernels=(5, 3), heads=2, feedforward=8).build(channels=1)
    task = Classify.model_validate({"aggregate": aggregate, "hidden": (), **settings})
    objective = task.build(encoder, channels=1, labels=np.array([0.0, 1]))
    assert isinstance(objective, ClassifyObjective)
    assert objective.aggregation(torch.randn(2, 1, 60), encoder=encoder).shape == (2, width)
    assert objective.logits(torch.randn(2, 1, 60)).shape == (2,)


@pytest.mark.parametrize(("aggregate", "settings"), [("max", {"groups": 2}), ("average-groups", {"narrowed": 8})])
def test_groups_without_effect_are_refused(aggregate: str, settings: dict) -> None:
    with pytest.raises(ValidationError, match=f"has no effect with aggregate: {aggregate}"):
        Classify.model_validate({"aggregate": aggregate, **settings})
