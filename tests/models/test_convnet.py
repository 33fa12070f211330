"""Promises of the convolutional network: published sizes, TensorFlow's padding, signals of any length."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from emotune.documents import Document, parse
from emotune.errors import SettingsError
from emotune.experiment import ADDED_TO_MODEL, Experiment, deciding_settings
from emotune.models import ConvNet, Transformer
from emotune.tasks import Classify

SMALL = ConvNet(channels=(3, 4), kernels=(6, 3))


def test_published_size() -> None:
    assert sum(parameter.numel() for parameter in ConvNet().build(channels=1).parameters()) == 329_152


@pytest.mark.parametrize(("samples", "lengths"), [(2560, [2560, 1277, 635]), (1280, [1280, 637, 315])])
def test_published_lengths(samples: int, lengths: list[int]) -> None:
    assert ConvNet().lengths(samples) == lengths


def test_flops_count_every_multiplication() -> None:
    counted = 0

    def count(layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal counted
        assert isinstance(layer, nn.Conv1d)
        counted += 2 * layer.weight.numel() * output.shape[2]

    encoder = ConvNet().build(channels=2)
    for layer in encoder.modules():
        if isinstance(layer, nn.Conv1d):
            layer.register_forward_hook(count)
    encoder.summarise(torch.randn(1, 2, 640))
    assert ConvNet().flops(channels=2, samples=640) == counted


def test_equals_the_same_network_in_numpy() -> None:
    encoder = SMALL.build(channels=2).double()
    signals = torch.randn(5, 2, 41, dtype=torch.float64)
    weights = {name: value.numpy() for name, value in encoder.state_dict().items()}
    expected = np.stack([in_numpy(signal, weights) for signal in signals.numpy()])
    np.testing.assert_allclose(encoder.summarise(signals).detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def in_numpy(signal: np.ndarray, weights: dict[str, np.ndarray]) -> np.ndarray:
    for pair in (0, 1):
        if pair:
            windows = np.lib.stride_tricks.sliding_window_view(signal, 8, axis=1)
            signal = windows[:, ::2].max(axis=2)
        for layer in (0, 1):
            kernel = weights[f"convolutions.{2 * pair + layer}.weight"]
            signal = correlate(signal, kernel) + weights[f"convolutions.{2 * pair + layer}.bias"][:, None]
            signal = np.where(signal > 0, signal, 0.2 * signal)
    return signal.max(axis=1)


def correlate(signal: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Correlate as TensorFlow does with "same" padding: the odd zero is on the right."""
    size = kernel.shape[2]
    padded = np.pad(signal, ((0, 0), ((size - 1) // 2, size // 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis=1)
    return np.einsum("ock,ctk->ot", kernel, windows)


def test_too_short_signals_are_refused_in_a_single_line() -> None:
    encoder = ConvNet().build(channels=1)
    assert encoder.summarise(torch.randn(2, 1, 22)).shape == (2, 128)
    with pytest.raises(SettingsError, match="signals of 21 samples are too short for 3 pairs"):
        encoder.summarise(torch.randn(2, 1, 21))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"channels": (4, 8)}, r"channels \(4, 8\) and kernels \(32, 16, 8\) must have the same length"),
        ({"channels": (4, 0, 8)}, "must be positive"),
    ],
)
def test_impossible_sizes_are_refused(values: dict, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        ConvNet(**values)


def experiment_of(model: object) -> Experiment:
    content = {"model": model, "task": {"kind": "classify"}}
    return parse(Document(name="study.yaml", content=content, positions={}), Experiment)


def test_the_transformer_needs_no_name() -> None:
    assert experiment_of({"channels": [4, 8], "kernels": [5, 3]}).model == Transformer(channels=(4, 8), kernels=(5, 3))
    assert experiment_of({"kind": "convnet", "channels": [4], "kernels": [6]}).model.kind == "convnet"


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ({"kind": "lstm"}, "model.kind: 'lstm' was given, expected 'convnet' or 'features' or 'transformer'"),
        ({"kind": "convnet", "kernel": [3]}, "'model.kernel' is not a setting of model. Did you mean 'kernels'"),
        ({"layer": 3}, "'model.layer' is not a setting of model. Did you mean 'layers'"),
        (3, "model: 3 was given, expected a mapping"),
    ],
)
def test_a_mistake_in_a_model_has_one_line(model: object, complaint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        experiment_of(model)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_masked_values_are_for_the_transformer() -> None:
    with pytest.raises(ValidationError, match=r"predicts samples, which model\.kind: convnet cannot"):
        Experiment.model_validate({"model": {"kind": "convnet"}, "task": {"kind": "masked_values"}})


def test_published_classifier_on_frozen_features() -> None:
    task = Classify(frozen=True, hidden=(512, 512, 512), dropout=0.4)
    objective = task.build(ConvNet().build(channels=1), channels=1, labels=np.array([0.0, 1, 1])).train()
    trained = {name: value.shape for name, value in objective.named_parameters() if value.requires_grad}
    assert trained["head.0.weight"] == (512, 128)
    assert len(trained) == 8
    assert all(name.startswith("head.") for name in trained)
    assert objective.logits(torch.randn(2, 1, 128)).shape == (2,)


def test_every_gap_has_its_own_pool() -> None:
    settings = ConvNet(channels=(2, 3, 4), kernels=(3, 3, 3), pool=(4, 2), pool_stride=(3, 2))
    assert settings.lengths(100) == [100, 33, 16]
    assert settings.build(channels=1).summarise(torch.randn(2, 1, 100)).shape == (2, 4)
    assert ConvNet(pool=(8, 8), pool_stride=(2, 2)).lengths(1280) == ConvNet().lengths(1280)
    with pytest.raises(
        ValidationError, match=r"pool: \[4\] was given, expected one number, or 2 for the gaps between 3"
    ):
        ConvNet(channels=(2, 3, 4), kernels=(3, 3, 3), pool=(4,))


def test_groups_have_a_maximum_each() -> None:
    torch.manual_seed(0)
    one = SMALL.build(channels=1)
    two = SMALL.model_copy(update={"groups": 2}).build(channels=1)
    two.load_state_dict(one.state_dict())
    signals = torch.randn(3, 1, 60)
    halves = two.summarise(signals)
    assert halves.shape == (3, two.width) == (3, 8)
    torch.testing.assert_close(halves.reshape(3, 2, 4).amax(dim=1), one.summarise(signals))
    with pytest.raises(SettingsError, match=r"model\.groups 30"):
        SMALL.model_copy(update={"groups": 30}).build(channels=1).summarise(signals)


def test_batch_normalisation_is_between_convolution_and_activation() -> None:
    torch.manual_seed(0)
    encoder = ConvNet(channels=(3,), kernels=(1,), norm="batch").build(channels=1).train()
    signals = 5 + 2 * torch.randn(16, 1, 50)
    seen: list[torch.Tensor] = []
    for norm in encoder.norms:
        norm.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    encoder.summarise(signals)
    for output in seen:
        assert output.mean(dim=(0, 2)).abs().max() < 1e-5
        torch.testing.assert_close(output.std(dim=(0, 2)), torch.ones(3), atol=0.01, rtol=0)
    first = encoder.eval().summarise(signals)
    # in evaluation a segment depends on itself alone
    torch.testing.assert_close(encoder.summarise(signals[:4]), first[:4])


def test_the_published_network_keeps_its_hash() -> None:
    content = Experiment(model=ConvNet(), task=Classify()).model_dump(mode="json")
    old = {
        **content,
        "model": {name: content["model"][name] for name in content["model"] if name not in ADDED_TO_MODEL},
    }
    assert deciding_settings(content) == deciding_settings(old)
    assert (
        Experiment(model=ConvNet(norm="batch"), task=Classify()).digest() != Experiment.model_validate(content).digest()
    )
