"""Several processes that train one model, as torchrun starts them. Alone, everything here does nothing.

Every process holds the same weights and draws clips of its own; gradients and clock readings are averaged, so
all processes take the same step at the same learning rate and stop together.
"""

import os
from collections.abc import Sequence

import torch
import torch.distributed as distributed
from torch import Tensor


class Replicas:
    """This process among its equals: `rank` of `count`. Reads the environment that torchrun sets."""

    def __init__(self) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        if self.count > 1 and not distributed.is_initialized():
            distributed.init_process_group("gloo")

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0

    def mean(self, values: Sequence[float]) -> list[float]:
        """The mean of each number over all processes."""
        if self.count == 1:
            return list(values)
        together = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(together)
        return [float(value) for value in together / self.count]

    def average_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Replaces every gradient by its mean over all processes; a missing one counts as zero."""
        if self.count == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.count
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def close(self) -> None:
        if self.count > 1 and distributed.is_initialized():
            distributed.destroy_process_group()
