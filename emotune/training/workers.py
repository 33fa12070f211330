"""The workers that train one model together: their number, and sums and maxima over them."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class WorkerGroup:
    """This worker and the number of those that train one model together, each on its part of every joint batch.

    Attributes:
        rank: Number of this worker, counted from 0.
        size: Number of workers.
    """

    rank: int = 0
    size: int = 1

    def add(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Return the sums over all workers; every worker must call this, with the same names in the same order."""
        if self.size == 1:
            return dict(sums)
        return dict(zip(sums, _reduced(list(sums.values()), distributed.ReduceOp.SUM), strict=True))

    def add_arrays(self, values: Tensor) -> Tensor:
        """Return the sum over all workers of a tensor of the same shape; every worker must call this."""
        if self.size > 1:
            distributed.all_reduce(values := values.to(_device()), op=distributed.ReduceOp.SUM)
        return values.cpu()

    def highest(self, number: int) -> int:
        """Return the highest of the workers' numbers; every worker must call this."""
        return number if self.size == 1 else int(_reduced([float(number)], distributed.ReduceOp.MAX)[0])

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return the module, with a backward pass that averages the gradients of all workers."""
        if self.size == 1:
            return module
        return DistributedDataParallel(module)


ALONE = WorkerGroup()
"""The group of a single worker."""


def joined() -> WorkerGroup:
    """Return the group of this process: of its ``torch.distributed`` process group or, without one, `ALONE`."""
    if not distributed.is_initialized():
        return ALONE
    return WorkerGroup(distributed.get_rank(), distributed.get_world_size())


def _device() -> str:
    return "cuda" if distributed.get_backend() == "nccl" else "cpu"


def _reduced(values: list[float], operation: distributed.ReduceOp.RedOpType) -> list[float]:
    tensor = torch.tensor(values, dtype=torch.float64, device=_device())
    distributed.all_reduce(tensor, op=operation)
    return tensor.tolist()
