"""The published model once more, twice: in NumPy, step by step, and of torch's own parts. For comparison only."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

Weights = Mapping[str, np.ndarray]


def numpy_weights(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.detach().double().numpy().copy() for name, value in module.state_dict().items()}


def representations(weights: Weights, signals: np.ndarray, *, heads: int) -> np.ndarray:
    """Return e_CLS, e_1, ..., e_s (equations 1 and 2) for signals (batch, channel, time), without dropout."""
    features = convolve(signals, weights["stem.convolutions.0.weight"], weights["stem.convolutions.0.bias"])
    features = np.maximum(normalise(features.swapaxes(1, 2), weights, "stem.first_norm").swapaxes(1, 2), 0)
    for number in range(1, count(weights, "stem.convolutions.")):
        name = f"stem.convolutions.{number}"
        features = np.maximum(convolve(features, weights[f"{name}.weight"], weights[f"{name}.bias"]), 0)
    features = normalise(features.swapaxes(1, 2), weights, "stem.last_norm")
    token = np.broadcast_to(weights["class_token"], (len(signals), 1, features.shape[2]))
    steps = np.concatenate([token, features], axis=1)
    states = normalise(steps + positions(*steps.shape[1:]), weights, "position_norm")
    for number in range(count(weights, "blocks.")):
        states = block(states, weights, f"blocks.{number}", heads=heads)
    return states


def count(weights: Weights, prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in weights if name.startswith(prefix)})


def convolve(signals: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    half = kernel.shape[2] // 2
    padded = np.pad(signals, ((0, 0), (0, 0), (half, half)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2], axis=2)
    return np.einsum("bctk,ock->bot", windows, kernel) + bias[None, :, None]


def normalise(states: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    centred = states - states.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return centred / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def positions(steps: int, width: int) -> np.ndarray:
    table = np.zeros((steps, width))
    for column in range(width):
        angles = np.arange(steps) / 10_000 ** (2 * (column // 2) / width)
        table[:, column] = np.cos(angles) if column % 2 else np.sin(angles)
    return table


def linear(states: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    return states @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def block(states: np.ndarray, weights: Weights, name: str, *, heads: int) -> np.ndarray:
    width = states.shape[2] // heads
    queries, keys, values = np.split(linear(states, weights, f"{name}.project_in"), 3, axis=2)
    parts = []
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        scores = queries[..., own] @ keys[..., own].swapaxes(1, 2) / np.sqrt(width)
        shares = np.exp(scores - scores.max(axis=2, keepdims=True))
        parts.append(shares / shares.sum(axis=2, keepdims=True) @ values[..., own])
    attended = linear(np.concatenate(parts, axis=2), weights, f"{name}.project_out")
    states = normalise(states + attended, weights, f"{name}.attention_norm")
    hidden = np.maximum(linear(states, weights, f"{name}.widen"), 0)
    return normalise(states + linear(hidden, weights, f"{name}.narrow"), weights, f"{name}.feedforward_norm")


def encoder_part(weights: Weights) -> dict[str, np.ndarray]:
    return {name.removeprefix("encoder."): value for name, value in weights.items() if name.startswith("encoder.")}


def masked_loss(weights: Weights, signals: np.ndarray, mask: np.ndarray, *, heads: int) -> float:
    """Equation 3: the mean squared error at the hidden samples of all channels; what is hidden is zero."""
    shown = np.where(mask[:, None], 0.0, signals)
    states = representations(encoder_part(weights), shown, heads=heads)[:, 1:]
    predicted = linear(np.maximum(linear(states, weights, "head.0"), 0), weights, "head.2").swapaxes(1, 2)
    errors = [
        (predicted[row, channel, time] - signals[row, channel, time]) ** 2
        for row, time in zip(*np.nonzero(mask), strict=True)
        for channel in range(signals.shape[1])
    ]
    return float(np.mean(errors))


def classifier_loss(
    weights: Weights, signals: np.ndarray, labels: np.ndarray, *, heads: int, train_labels: np.ndarray
) -> float:
    """Equation 4, with w_p from the labels of the training samples."""
    states = representations(encoder_part(weights), signals, heads=heads)[:, 0]
    layers = sorted({name.rpartition(".")[0] for name in weights if name.startswith("head.")})
    for layer in layers[:-1]:
        states = np.maximum(linear(states, weights, layer), 0)
    high = 1 / (1 + np.exp(-linear(states, weights, layers[-1])[:, 0]))
    positive = (train_labels == 0).sum() / (train_labels == 1).sum()
    return float(np.mean(-positive * labels * np.log(high) - (1 - labels) * np.log(1 - high)))


class Plain(nn.Module):
    """The model of torch's own layers, without any of the shortcuts: all rows of all blocks."""

    def __init__(self, weights: Mapping[str, Tensor], *, heads: int) -> None:
        super().__init__()
        convolutions = sorted(name for name in weights if name.startswith("stem.conv") and name.endswith("weight"))
        shapes = [weights[name].shape for name in convolutions]
        width = shapes[-1][0]
        self.stem = nn.ModuleList(nn.Conv1d(shape[1], shape[0], shape[2], padding="same") for shape in shapes)
        self.norms = nn.ModuleList(nn.LayerNorm(size) for size in (shapes[0][0], width, width))
        self.token = nn.Parameter(weights["class_token"].clone())
        feedforward = weights["blocks.0.widen.weight"].shape[0]
        layer = nn.TransformerEncoderLayer(width, heads, feedforward, dropout=0.0, batch_first=True)
        layers = len({name.split(".")[1] for name in weights if name.startswith("blocks.")})
        self.transformer = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        with torch.no_grad():
            for own, name in self.pairs():
                own.copy_(weights[name])

    def pairs(self) -> list[tuple[nn.Parameter, str]]:
        """Return each parameter with the name that the library gives it."""
        names = ["class_token"]
        own = [self.token]
        for number, convolution in enumerate(self.stem):
            names += [f"stem.convolutions.{number}.{part}" for part in ("weight", "bias")]
            own += [convolution.get_parameter("weight"), convolution.get_parameter("bias")]
        for norm, name in zip(self.norms, ("stem.first_norm", "stem.last_norm", "position_norm"), strict=True):
            names += [f"{name}.weight", f"{name}.bias"]
            own += [norm.get_parameter("weight"), norm.get_parameter("bias")]
        theirs = {
            "self_attn.in_proj_weight": "project_in.weight",
            "self_attn.in_proj_bias": "project_in.bias",
            "self_attn.out_proj.weight": "project_out.weight",
            "self_attn.out_proj.bias": "project_out.bias",
            "linear1": "widen",
            "linear2": "narrow",
            "norm1": "attention_norm",
            "norm2": "feedforward_norm",
        }
        for number, layer in enumerate(self.transformer.layers):
            for name, parameter in layer.named_parameters():
                whole = theirs.get(name) or f"{theirs[name.split('.')[0]]}.{name.split('.')[1]}"
                names.append(f"blocks.{number}.{whole}")
                own.append(parameter)
        return list(zip(own, names, strict=True))

    def forward(self, signals: Tensor) -> Tensor:
        features = signals
        for number, convolution in enumerate(self.stem):
            features = convolution(features)
            if number == 0:
                features = self.norms[0](features.mT).mT
            features = torch.relu(features)
        features = self.norms[1](features.mT)
        steps = torch.cat([self.token.expand(len(signals), 1, -1), features], dim=1)
        table = torch.from_numpy(positions(*steps.shape[1:])).to(steps)
        return self.transformer(self.norms[2](steps + table))
