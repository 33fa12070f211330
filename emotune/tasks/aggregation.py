"""Aggregation of a signal's representations e_CLS, e_1, ..., e_s into the vector that is classified.

Source: Vazquez-Rodriguez et al. 2022 (arXiv:2204.05103), section V-A and Table I, whose rows are
``class`` (CLS), ``last`` (last), ``max`` (max-pool 1), ``average`` (avg-pool 1), ``max-groups``
(max-pool 2) and ``average-groups`` (avg-pool 2). The paper leaves two choices open. Here pooling is over
e_1, ..., e_s without e_CLS, and groups are consecutive in time and of equal length: 1280 samples divide into 2 and
into 4 groups, 1281 representations would not.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from emotune.errors import SettingsError
from emotune.models import Encoder
from emotune.models.transformer import TransformerEncoder

Aggregate = Literal["class", "last", "max", "average", "max-groups", "average-groups"]

GROUPS: dict[Aggregate, int] = {"max-groups": 2, "average-groups": 4}
"""Published number of groups in time, of the pools that have groups."""

NARROWED_WIDTH = 64
"""Published number of features per representation after the linear layer of ``max-groups``."""


def embed(signals: Float[Tensor, "batch channel time"], *, encoder: Encoder) -> Float[Tensor, "batch width"]:
    """Return the mean of the representations of all samples, or the summary by an encoder that has no other.

    Masked values are predicted from the representations of samples alone, so that e_CLS is trained little by them.
    """
    kind: Aggregate = "average" if isinstance(encoder, TransformerEncoder) else "class"
    return Aggregation(kind, encoder=encoder)(signals, encoder=encoder)


class Aggregation(nn.Module):
    """One vector per signal: one of its representations, or a pool over those of all samples.

    Attributes:
        width: Number of features of the vector.

    Args:
        kind: Which representation or which pool.
        groups: Groups in time of ``max-groups`` and ``average-groups``; None: the published number.
        narrowed: Features per representation after the linear layer of ``max-groups``.
        encoder: The encoder that will be passed to `forward`; it does not become a submodule, since the objective
            has it already.

    Raises:
        SettingsError: The kind needs a representation per sample, and the encoder has only one per signal.
    """

    def __init__(
        self, kind: Aggregate, *, encoder: Encoder, groups: int | None = None, narrowed: int = NARROWED_WIDTH
    ) -> None:
        super().__init__()
        if kind != "class" and not isinstance(encoder, TransformerEncoder):
            raise SettingsError(
                f"task.aggregate: {kind!r} was given, but this model gives one representation of a whole signal; "
                "use 'class', or model.kind: transformer"
            )
        self.kind: Aggregate = kind
        self.groups = groups or GROUPS.get(kind, 1)
        self.narrow = nn.Linear(encoder.width, narrowed) if kind == "max-groups" else nn.Identity()
        self.width = self.groups * (narrowed if kind == "max-groups" else encoder.width)

    def forward(
        self, signals: Float[Tensor, "batch channel time"], *, encoder: Encoder
    ) -> Float[Tensor, "batch aggregated"]:
        """Return the vectors of signals; with ``class`` and ``last`` the last block is computed for one row only."""
        if self.kind == "class":
            return encoder.summarise(signals)
        assert isinstance(encoder, TransformerEncoder)
        if self.kind == "last":
            batch, _, samples = signals.shape
            return encoder(signals, torch.full((batch, 1), samples, device=signals.device))[:, 0]
        states = encoder(signals)[:, 1:]
        match self.kind:
            case "max":
                return states.amax(dim=1)
            case "average":
                return states.mean(dim=1)
            case "max-groups":
                groups = self.narrow(states).tensor_split(self.groups, dim=1)
                return torch.cat([group.amax(dim=1) for group in groups], dim=1)
            case "average-groups":
                groups = states.tensor_split(self.groups, dim=1)
                return torch.cat([group.mean(dim=1) for group in groups], dim=1)
