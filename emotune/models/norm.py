"""Layer normalisation whose gradients do not suffer from bfloat16."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LayerNorm(nn.LayerNorm):
    """``torch.nn.LayerNorm``, whose gradients of scale and shift are summed in float32 also of bfloat16 inputs.

    On a CPU torch sums them in bfloat16, over all time steps of a batch, which puts them a tenth off.
    """

    def forward(self, input: Float[Tensor, "... width"]) -> Float[Tensor, "... width"]:
        """Normalise over the last dimension."""
        if input.device.type == "cpu" and input.dtype == torch.bfloat16 and torch.is_grad_enabled():
            return _Normalise.apply(input, self.weight, self.bias, self.eps)
        return super().forward(input)


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
        normalised, mean, rstd = torch.native_layer_norm(states, weight.shape, weight, bias, epsilon)
        ctx.save_for_backward(states, mean, rstd, weight, bias)
        return normalised

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        states, mean, rstd, weight, bias = ctx.saved_tensors
        inward, scale, shift = torch.ops.aten.native_layer_norm_backward(
            gradients[0].float(), states.float(), weight.shape, mean, rstd, weight, bias, [True, True, True]
        )
        return inward.to(states.dtype), scale, shift, None
