"""Scaled dot-product attention: explicit on CPUs, torch's fused kernels elsewhere.

On a CPU torch's fused kernel takes no dropout and is several times slower in bfloat16 than plain
matrix products. The explicit path goes through a few heads at a time, so that scores stay in the
cache, and keeps only the probabilities for the way back: with dropout, the dropped ones carry a
minus sign.
"""

import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from emotune.models.dropout import Bits, Dropout

Kernel = Literal["explicit", "fused"]
GROUP = 2**21
"""Attention probabilities that are worked on at a time."""

FUSED = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
"""What may be used on a GPU: torch raises an error rather than falling back on its slow path."""


class Attention(nn.Module):
    """Scaled dot-product attention with dropout of the probabilities.

    Args:
        dropout: Dropout rate.
    """

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.kernel: Kernel | None = None

    def forward(
        self,
        query: Float[Tensor, "batch head row part"],
        key: Float[Tensor, "batch head step part"],
        value: Float[Tensor, "batch head step value"],
    ) -> Float[Tensor, "batch head row value"]:
        """Return ``dropout(softmax(query @ key.T / sqrt(part))) @ value`` for each head.

        `kernel` says how, if it is not None.
        """
        if (self.kernel or self._best_kernel(query)) == "explicit":
            bits = self.dropout.bits(query.shape[0], parts=query.shape[1]) if self.dropout.active else None
            return _Explicit.apply(query, key, value, bits, self.dropout.scale)
        rate = self.dropout.rate if self.dropout.active else 0.0
        if query.device.type == "cpu":
            return functional.scaled_dot_product_attention(query, key, value, dropout_p=rate)
        with sdpa_kernel(FUSED):
            return functional.scaled_dot_product_attention(query, key, value, dropout_p=rate)

    def _best_kernel(self, query: Tensor) -> Kernel:
        """Return the faster one; a traced network is to hold torch's own operations only."""
        if query.device.type != "cpu" or torch.compiler.is_compiling():
            return "fused"
        return "explicit" if query.requires_grad or self.dropout.active or query.element_size() == 2 else "fused"


class _Explicit(torch.autograd.Function):
    """Attention as matrix products, the way of FlashAttention (arXiv:2205.14135) but with the probabilities kept.

    Backward, with probabilities P, kept ones K and D = rowsum(gradient * result):
    ``dscores = K * (gradient @ value.T) - P * D``.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, bits: Bits | None, scale: float) -> Tensor:
        leading = query.shape[:2]
        query, key, value = (states.flatten(0, 1) for states in (query, key, value))
        shape, kept_for_later = torch.Size((query.shape[1], key.shape[1])), any(ctx.needs_input_grad)
        groups = _groups(len(query), shape.numel())
        probabilities = query.new_empty(len(query if kept_for_later else groups[0]), *shape)
        result = query.new_empty(*query.shape[:2], value.shape[2])
        for group in groups:
            ours = slice(group.start, group.stop)
            own = probabilities[ours if kept_for_later else slice(len(group))]
            _scores(query[ours], key[ours], out=own)
            torch.softmax(own, -1, out=own)
            kept = own if bits is None else _mark_dropped(own, bits, group)
            torch.bmm(kept, value[ours], out=result[ours])
        if bits is not None:
            result.mul_(scale)
        ctx.save_for_backward(query, key, value, probabilities, result)
        ctx.scale, ctx.dropping, ctx.leading = scale, bits is not None, leading
        return result.unflatten(0, leading)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, value, probabilities, result = ctx.saved_tensors
        gradient = gradients[0].flatten(0, 1)
        products = (gradient * result).sum(-1, keepdim=True, dtype=torch.float32).to(result.dtype)
        if ctx.dropping:
            gradient = gradient * ctx.scale
        dquery, dkey, dvalue = (torch.empty_like(states) for states in (query, key, value))
        for group in _groups(len(probabilities), probabilities[0].numel()):
            ours = slice(group.start, group.stop)
            own, dscores = probabilities[ours], torch.bmm(gradient[ours], value[ours].transpose(1, 2))
            if ctx.dropping:
                kept = _positive(own)
                torch.bmm(kept.transpose(1, 2), gradient[ours], out=dvalue[ours])
                dscores.mul_(kept).addcmul_(torch.abs(own, out=kept), products[ours], value=-1)
            else:
                torch.bmm(own.transpose(1, 2), gradient[ours], out=dvalue[ours])
                dscores.sub_(products[ours]).mul_(own)
            torch.bmm(dscores, key[ours], out=dquery[ours])
            torch.bmm(dscores.transpose(1, 2), query[ours], out=dkey[ours])
        factor = 1 / math.sqrt(query.shape[-1])
        dquery, dkey, dvalue = (one.unflatten(0, ctx.leading) for one in (dquery * factor, dkey * factor, dvalue))
        return dquery, dkey, dvalue, None, None


def _groups(heads: int, each: int) -> list[range]:
    size = max(1, GROUP // each)
    return [range(start, min(start + size, heads)) for start in range(0, heads, size)]


def _scores(query: Tensor, key: Tensor, *, out: Tensor) -> None:
    torch.baddbmm(out, query, key.transpose(1, 2), beta=0, alpha=1 / math.sqrt(query.shape[-1]), out=out)


def _mark_dropped(probabilities: Tensor, bits: Bits, group: range) -> Tensor:
    """Give the dropped ones a minus sign, in place, and return the probabilities with zeros in their place."""
    dropped = bits.dropped(group, length=probabilities[0].numel()).view(probabilities.shape)
    if probabilities.element_size() == 2:
        probabilities.view(torch.int16).bitwise_or_(dropped.bitwise_left_shift_(15))
    else:
        probabilities.view(torch.int32).bitwise_or_(dropped.to(torch.int32).bitwise_left_shift_(31))
    return _positive(probabilities)


def _positive(marked: Tensor) -> Tensor:
    """Return zeros in place of the dropped ones; as whole numbers, which compare in the same way but faster."""
    whole = torch.int16 if marked.element_size() == 2 else torch.int32
    return marked.view(whole).clamp_min(0).view(marked.dtype)
