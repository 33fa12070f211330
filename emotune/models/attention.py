"""Scaled dot-product attention: explicit on CPUs, torch's fused kernels elsewhere.

Source: Vaswani et al. 2017 (arXiv:1706.03762), section 3.2.1. Per head, with queries Q, keys K, values V and the
width d of a head:

    P = softmax(Q K^T / sqrt(d))        result = dropout(P) V

On a CPU torch's fused kernel has no dropout, and in bfloat16 it is several times slower than plain
matrix products. The explicit path processes a few heads at a time, so that their scores fit in the
cache, and saves only P for the backward pass. Dropout needs no mask beside it: since P >= 0, its sign bit is
free, and dropped probabilities are saved with a minus sign.
"""

import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from emotune.models.dropout import Dropout, Masks

Kernel = Literal["explicit", "fused"]
"""``explicit``: the matrix products of this module; ``fused``: torch's ``scaled_dot_product_attention``."""

GROUP_PROBABILITIES = 2**21
"""Attention probabilities that the explicit path processes at a time: 8 MiB in float32, for a CPU's cache."""

FUSED_BACKENDS = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
"""Kernels that may be used on a GPU, the fastest first.

Without the slow one ("math"), torch raises an error where none of them fits.
"""


class Attention(nn.Module):
    """Scaled dot-product attention with dropout of the probabilities.

    Attributes:
        kernel: How attention is computed; None chooses the faster kernel at each call.

    Args:
        dropout: Dropout rate of the probabilities.
    """

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.kernel: Kernel | None = None

    def forward(
        self,
        query: Float[Tensor, "batch head row head_width"],
        key: Float[Tensor, "batch head step head_width"],
        value: Float[Tensor, "batch head step value"],
    ) -> Float[Tensor, "batch head row value"]:
        """Return ``dropout(softmax(query @ key.T / sqrt(head_width))) @ value`` for each head."""
        if (self.kernel or self._best_kernel(query)) == "explicit":
            masks = self.dropout.masks(query.shape[0], heads=query.shape[1]) if self.dropout.active else None
            return _Explicit.apply(query, key, value, masks, self.dropout.scale)
        rate = self.dropout.rate if self.dropout.active else 0.0
        if query.device.type == "cpu":
            return functional.scaled_dot_product_attention(query, key, value, dropout_p=rate)
        with sdpa_kernel(FUSED_BACKENDS, set_priority=True):
            return functional.scaled_dot_product_attention(query, key, value, dropout_p=rate)

    def _best_kernel(self, query: Tensor) -> Kernel:
        """Return the faster kernel.

        A compiled or exported network must consist of torch's own operations, so it gets the fused kernel. On a CPU
        the fused kernel is the faster one only without dropout, without gradients and in float32.
        """
        if query.device.type != "cpu" or torch.compiler.is_compiling():
            return "fused"
        return "explicit" if query.requires_grad or self.dropout.active or query.element_size() == 2 else "fused"


class _Explicit(torch.autograd.Function):
    """Attention as matrix products, in the manner of FlashAttention (arXiv:2205.14135), but with saved probabilities.

    With probabilities P, M = P where dropout keeps it and 0 elsewhere, the dropout's scale c, the result O and its
    gradient G:

        O = c M V
        dV = c M^T G
        dS = M * (c G V^T) - P * D,  D = rowsum(G * O)      the softmax's gradient
        dQ = dS K / sqrt(d),     dK = dS^T Q / sqrt(d)

    D is rowsum(P * dP) of the usual formula, computed from the result (FlashAttention, appendix B.2): it needs no
    second pass over the probabilities.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, masks: Masks | None, scale: float) -> Tensor:
        leading = query.shape[:2]
        query, key, value = (states.flatten(0, 1) for states in (query, key, value))
        shape, save = torch.Size((query.shape[1], key.shape[1])), any(ctx.needs_input_grad)
        groups = _groups(len(query), shape.numel())
        # without a backward pass, all groups share the memory of one
        probabilities = query.new_empty(len(query if save else groups[0]), *shape)
        result = query.new_empty(*query.shape[:2], value.shape[2])
        for group in groups:
            heads = slice(group.start, group.stop)
            scores = probabilities[heads if save else slice(len(group))]
            _scores(query[heads], key[heads], out=scores)
            torch.softmax(scores, -1, out=scores)
            kept = scores if masks is None else _mark_dropped(scores, masks, group)
            torch.bmm(kept, value[heads], out=result[heads])
        if masks is not None:
            result.mul_(scale)
        ctx.save_for_backward(query, key, value, probabilities, result)
        ctx.scale, ctx.dropping, ctx.leading = scale, masks is not None, leading
        return result.unflatten(0, leading)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, value, probabilities, result = ctx.saved_tensors
        gradient = gradients[0].flatten(0, 1)
        # D is a sum over many products: bfloat16 would lose it, so it is summed in float32
        products = (gradient * result).sum(-1, keepdim=True, dtype=torch.float32).to(result.dtype)
        if ctx.dropping:
            gradient = gradient * ctx.scale
        dquery, dkey, dvalue = (torch.empty_like(states) for states in (query, key, value))
        for group in _groups(len(probabilities), probabilities[0].numel()):
            heads = slice(group.start, group.stop)
            marked, dscores = probabilities[heads], torch.bmm(gradient[heads], value[heads].transpose(1, 2))
            if ctx.dropping:
                kept = _positive(marked)
                torch.bmm(kept.transpose(1, 2), gradient[heads], out=dvalue[heads])
                # the memory of M is used again, for P
                dscores.mul_(kept).addcmul_(torch.abs(marked, out=kept), products[heads], value=-1)
            else:
                torch.bmm(marked.transpose(1, 2), gradient[heads], out=dvalue[heads])
                dscores.sub_(products[heads]).mul_(marked)
            torch.bmm(dscores, key[heads], out=dquery[heads])
            torch.bmm(dscores.transpose(1, 2), query[heads], out=dkey[heads])
        factor = 1 / math.sqrt(query.shape[-1])
        dquery, dkey, dvalue = (states.unflatten(0, ctx.leading) for states in (dquery * factor, dkey * factor, dvalue))
        return dquery, dkey, dvalue, None, None


def _groups(heads: int, probabilities: int) -> list[range]:
    """Return consecutive heads (of all signals) in groups; each head has this number of probabilities."""
    size = max(1, GROUP_PROBABILITIES // probabilities)
    return [range(start, min(start + size, heads)) for start in range(0, heads, size)]


def _scores(query: Tensor, key: Tensor, *, out: Tensor) -> None:
    torch.baddbmm(out, query, key.transpose(1, 2), beta=0, alpha=1 / math.sqrt(query.shape[-1]), out=out)


def _mark_dropped(probabilities: Tensor, masks: Masks, group: range) -> Tensor:
    """Set the sign bit of the dropped probabilities, in place, and return a copy with zeros in their place."""
    dropped = masks.dropped(group, length=probabilities[0].numel()).view(probabilities.shape)
    if probabilities.element_size() == 2:
        probabilities.view(torch.int16).bitwise_or_(dropped.bitwise_left_shift_(15))
    else:
        probabilities.view(torch.int32).bitwise_or_(dropped.to(torch.int32).bitwise_left_shift_(31))
    return _positive(probabilities)


def _positive(marked: Tensor) -> Tensor:
    """Return a copy with zeros in place of the marked probabilities.

    The bits are compared as integers: a float with its sign bit set is a negative integer, too, and comparing
    integers is faster.
    """
    integer = torch.int16 if marked.element_size() == 2 else torch.int32
    return marked.view(integer).clamp_min(0).view(marked.dtype)
