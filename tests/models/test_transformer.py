"""Promises of the encoder: published sizes, alignment, and rows that are not read are not computed."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from emotune.models import MODELS, Transformer
from emotune.models.transformer import Block, convolve, convolve_as_product, sinusoids
from emotune.tasks import MaskedValues

SMALL = Transformer(channels=(4, 8), kernels=(5, 3), layers=2, heads=2, feedforward=16, dropout=0, attention_dropout=0)


def count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("channels", "published"), [(1, 2_445_953), (10, 2_484_554)])
def test_published_size_with_its_head(channels: int, published: int) -> None:
    encoder = Transformer().build(channels=channels)
    objective = MaskedValues().build(encoder, channels=channels, labels=None)
    assert count_parameters(objective) == published


@pytest.mark.parametrize("samples", [64, 65, 130])
def test_one_representation_per_sample_and_one_for_the_class(samples: int) -> None:
    encoder = SMALL.build(channels=3)
    assert encoder(torch.randn(2, 3, samples)).shape == (2, samples + 1, 8)


def test_stem_output_is_aligned_with_its_input() -> None:
    stem = SMALL.build(channels=1).stem
    signal = torch.zeros(1, 1, 40)
    changed = signal.clone()
    changed[0, 0, 20] = 5.0
    difference = (stem(changed) - stem(signal)).abs().sum(dim=2)[0]
    assert difference.nonzero().flatten().tolist() == list(range(17, 24))


@pytest.mark.parametrize("channels", [1, 10])
def test_a_convolution_as_a_product_is_the_same(channels: int) -> None:
    convolution, features = nn.Conv1d(channels, 8, 65, padding=32), torch.randn(3, 100, channels)
    torch.testing.assert_close(convolve_as_product(convolution, features), convolve(convolution, features))


def test_rows_equal_those_of_the_whole_sequence() -> None:
    encoder = SMALL.build(channels=1).eval()
    signals = torch.randn(3, 1, 50)
    rows = torch.tensor([[0, 7, 50], [3, 3, 1], [49, 2, 0]])
    chosen = encoder(signals, rows)
    everything = encoder(signals)
    for signal in range(3):
        torch.testing.assert_close(chosen[signal], everything[signal, rows[signal]], rtol=0, atol=1e-5)


def test_summary_is_the_class_representation() -> None:
    encoder = SMALL.build(channels=1).eval()
    signals = torch.randn(2, 1, 30)
    torch.testing.assert_close(encoder.summarise(signals), encoder(signals)[:, 0], rtol=0, atol=1e-5)


def test_a_block_computes_what_torch_computes() -> None:
    settings = Transformer(channels=(8,), kernels=(3,), heads=2, feedforward=16, dropout=0, attention_dropout=0)
    block = Block(settings)
    oracle = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, dropout=0, batch_first=True)
    names = {
        "self_attn.in_proj_weight": block.project_in.weight,
        "self_attn.in_proj_bias": block.project_in.bias,
        "self_attn.out_proj.weight": block.project_out.weight,
        "self_attn.out_proj.bias": block.project_out.bias,
        "linear1.weight": block.widen.weight,
        "linear1.bias": block.widen.bias,
        "linear2.weight": block.narrow.weight,
        "linear2.bias": block.narrow.bias,
        "norm1.weight": block.attention_norm.weight,
        "norm1.bias": block.attention_norm.bias,
        "norm2.weight": block.feedforward_norm.weight,
        "norm2.bias": block.feedforward_norm.bias,
    }
    oracle.load_state_dict({name: value.detach() for name, value in names.items()})
    steps = torch.randn(2, 11, 8)
    torch.testing.assert_close(block(steps), oracle(steps), rtol=1e-5, atol=1e-6)


def test_positions_are_those_of_the_formula() -> None:
    positions = sinusoids(5, 6)
    for step in range(5):
        for pair in range(3):
            angle = torch.tensor(step / 10_000 ** (2 * pair / 6))
            assert positions[step, 2 * pair].item() == pytest.approx(angle.sin().item(), abs=1e-6)
            assert positions[step, 2 * pair + 1].item() == pytest.approx(angle.cos().item(), abs=1e-6)


def test_flops_of_the_published_model() -> None:
    assert Transformer().flops(channels=1, samples=1280) == pytest.approx(9.604e9 - 84e6, rel=2e-3)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"heads": 3}, "heads: 3 does not divide the width 256"),
        ({"kernels": (65, 33)}, "same length"),
        ({"kernels": (64, 33, 17)}, "not odd"),
        ({"channels": (1, 2, 7)}, "even"),
        ({"depth": 2}, "Extra inputs"),
    ],
)
def test_impossible_sizes_are_refused(settings: dict, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Transformer.model_validate(settings)


def test_every_model_is_read_back_from_its_json() -> None:
    for model in MODELS:
        assert model.model_validate_json(model().model_dump_json()) == model()
