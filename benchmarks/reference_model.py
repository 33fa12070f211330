"""A direct implementation of the published networks: torch's own layers, float32, every row.

The fast paths are compared with it. It uses no training code of the project: the encoder is
`nn.TransformerEncoderLayer`, the head reads the whole sequence, dropout is torch's, batches come from a `DataLoader`.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from emotune.models import Transformer
from emotune.tasks import Classify, MaskedValues

LIBRARY_NAMES = {
    "self_attn.in_proj_weight": "project_in.weight",
    "self_attn.in_proj_bias": "project_in.bias",
    "self_attn.out_proj.weight": "project_out.weight",
    "self_attn.out_proj.bias": "project_out.bias",
    "linear1.weight": "widen.weight",
    "linear1.bias": "widen.bias",
    "linear2.weight": "narrow.weight",
    "linear2.bias": "narrow.bias",
    "norm1.weight": "attention_norm.weight",
    "norm1.bias": "attention_norm.bias",
    "norm2.weight": "feedforward_norm.weight",
    "norm2.bias": "feedforward_norm.bias",
}
"""Names of parameters in torch's layer, with their names in the library."""


class ReferenceEncoder(nn.Module):
    """Convolutions, class token, positions, Transformer blocks.

    Args:
        settings: Sizes and dropout.
        channels: Channels of the signals.
    """

    def __init__(self, settings: Transformer, *, channels: int) -> None:
        super().__init__()
        sizes = [channels, *settings.channels]
        width = settings.width
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, kernel, padding="same")
            for before, after, kernel in zip(sizes[:-1], sizes[1:], settings.kernels, strict=True)
        )
        self.first_norm = nn.LayerNorm(sizes[1])
        self.last_norm = nn.LayerNorm(width)
        self.class_token = nn.Parameter(torch.zeros(width))
        self.position_norm = nn.LayerNorm(width)
        self.dropout = settings.dropout
        layer = nn.TransformerEncoderLayer(
            width, settings.heads, settings.feedforward, dropout=settings.dropout, batch_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, settings.layers, enable_nested_tensor=False)
        for block in self.transformer.layers:
            attention = block.get_submodule("self_attn")
            assert isinstance(attention, nn.MultiheadAttention)
            attention.dropout = settings.attention_dropout

    def forward(self, signals: Tensor) -> Tensor:
        """Return the representations of the class token and of every sample: batch, time + 1, width."""
        features = self.convolutions[0](signals)
        features = functional.relu(self.first_norm(features.transpose(1, 2)).transpose(1, 2))
        for convolution in list(self.convolutions)[1:]:
            features = functional.relu(convolution(features))
        features = functional.dropout(self.last_norm(features.transpose(1, 2)), self.dropout, self.training)
        steps = torch.cat([self.class_token.expand(len(signals), 1, -1), features], dim=1)
        states = self.position_norm(steps + positions(steps.shape[1], steps.shape[2], device=steps.device))
        return self.transformer(functional.dropout(states, self.dropout, self.training))

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Load all weights of the library's encoder."""
        own = self.state_dict()
        self.load_state_dict({name: weights[library_name(name)] for name in own})
        assert len(own) == len(weights)


def library_name(name: str) -> str:
    """Return the name in the library's encoder of a parameter of `ReferenceEncoder`."""
    if name.startswith("transformer.layers."):
        number, _, rest = name.removeprefix("transformer.layers.").partition(".")
        return f"blocks.{number}.{LIBRARY_NAMES[rest]}"
    return name if name.startswith(("class_token", "position_norm")) else f"stem.{name}"


def positions(steps: int, width: int, *, device: torch.device) -> Tensor:
    """Return the position codes: sines in even columns, cosines in odd ones."""
    rates = 10_000 ** (-torch.arange(0, width, 2, device=device) / width)
    angles = torch.arange(steps, device=device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).reshape(steps, width)


class ReferencePretraining(nn.Module):
    """Predicts every sample from its representation; the error is measured at the hidden samples."""

    def __init__(self, task: MaskedValues, model: Transformer, *, channels: int) -> None:
        super().__init__()
        self.encoder = ReferenceEncoder(model, channels=channels)
        self.head = nn.Sequential(nn.Linear(model.width, task.head), nn.ReLU(), nn.Linear(task.head, channels))

    def forward(self, signals: Tensor, mask: Tensor) -> Tensor:
        """Return the mean squared error at the hidden samples.

        Args:
            signals: Batch, channel, time.
            mask: True where a sample is hidden: batch, time.
        """
        shown = signals.masked_fill(mask[:, None], 0.0)
        predicted = self.head(self.encoder(shown)[:, 1:]).transpose(1, 2)
        errors = functional.mse_loss(predicted, signals, reduction="none") * mask[:, None]
        return errors.sum() / (mask.sum() * signals.shape[1])


class ReferenceClassifier(nn.Module):
    """A fully connected network on the class token, with weighted binary cross-entropy."""

    def __init__(self, task: Classify, model: Transformer, *, channels: int) -> None:
        super().__init__()
        self.encoder = ReferenceEncoder(model, channels=channels)
        sizes = [model.width, *task.hidden]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(task.dropout)]
        self.head = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))

    def forward(self, signals: Tensor, label: Tensor) -> Tensor:
        """Return the mean cross-entropy; labels are 1 (high) or 0, both with the same frequency."""
        return functional.binary_cross_entropy_with_logits(self.head(self.encoder(signals)[:, 0]), label[:, None])


Reference = ReferencePretraining | ReferenceClassifier


def build_reference(
    task: MaskedValues | Classify, model: Transformer, *, channels: int, weights: Mapping[str, Tensor]
) -> Reference:
    """Return the reference of an objective, with its weights.

    Args:
        task: The task.
        model: Sizes and dropout.
        channels: Channels of the signals.
        weights: ``state_dict`` of the library's objective.
    """
    if isinstance(task, MaskedValues):
        network: Reference = ReferencePretraining(task, model, channels=channels)
    else:
        network = ReferenceClassifier(task, model, channels=channels)
    parts: dict[str, dict[str, Tensor]] = {"encoder": {}, "head": {}}
    for name, value in weights.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value
    network.encoder.load(parts["encoder"])
    network.head.load_state_dict(parts["head"])
    return network


class Segments(Dataset[tuple[Tensor, Tensor]]):
    """Segments with their masks or labels, one at a time.

    Args:
        signals: Segment, channel, time.
        labels: One per segment, or None for masks.
        task: The task, with the settings of the masks.
    """

    def __init__(self, signals: np.ndarray, *, labels: np.ndarray | None, task: MaskedValues | Classify) -> None:
        self.signals = signals
        self.labels = labels
        self.task = task
        self.random = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.signals)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """Return a segment, and its mask or its label."""
        signal = torch.from_numpy(self.signals[number].copy())
        if self.labels is not None:
            return signal, torch.tensor(self.labels[number], dtype=torch.float32)
        assert isinstance(self.task, MaskedValues)
        mask = np.zeros(signal.shape[1], dtype=bool)
        starts = int(self.task.start_probability * len(mask))
        for start in self.random.choice(len(mask), size=starts, replace=False):
            mask[start : start + self.task.span] = True
        return signal, torch.from_numpy(mask)


@dataclass(frozen=True)
class ReferenceTraining:
    """A plain training loop.

    Attributes:
        network: The network with its loss.
        optimiser: Torch's Adam with its defaults, except learning rate and weight decay.
        loader: Yields batches.
        device: The device of the training.
    """

    network: Reference
    optimiser: torch.optim.Optimizer
    loader: DataLoader[tuple[Tensor, Tensor]]
    device: torch.device

    def epoch(self) -> float:
        """Train for an epoch and return the mean loss of its batches."""
        self.network.train()
        losses = [self.step(signals, target) for signals, target in self.batches()]
        return sum(losses) / len(losses)

    def step(self, signals: Tensor, target: Tensor) -> float:
        """Make one optimiser step and return the loss."""
        loss = self.network(signals, target)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.item()

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield an epoch's batches, on the device."""
        for signals, target in self.loader:
            yield signals.to(self.device), target.to(self.device)
