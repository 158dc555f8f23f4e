"""Several processes that train one model, as torchrun starts them. Alone, everything here does nothing.

Every process holds the same weights and trains on its part of a step's clips. The loss of a step is a sum over all
of them, so gradients are added up, not averaged, and all processes take the same update.

This is one flat sum instead of DistributedDataParallel: which parameters a step reaches depends on its prompts, a
process may have no clip at all, and a parameter that no process reached must stay without gradient, as it would
in a single process, or AdamW would still move it.
"""

import os
from collections.abc import Sequence

import torch
import torch.distributed as distributed
from torch import Tensor


class Replicas:
    """This process among its equals: `rank` of `count`, on `device`. Reads the environment that torchrun sets."""

    def __init__(self, device: str = "cpu") -> None:
        """`device`: "cpu" or "cuda"; with CUDA every process takes the card of its local rank.

        Raises ValueError for another device and RuntimeError where CUDA is not to be had.
        """
        if device not in ("cpu", "cuda"):
            raise ValueError(f"The device must be cpu or cuda, not {device!r}.")
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.device = torch.device(device)
        if device == "cuda":
            if not torch.cuda.is_available():
                raise RuntimeError("There is no CUDA device here; train with --device cpu.")
            number = int(os.environ.get("LOCAL_RANK", "0"))
            if number >= torch.cuda.device_count():
                raise RuntimeError(
                    f"Process {number} of this machine has no CUDA device of its own; there are "
                    f"{torch.cuda.device_count()}."
                )
            self.device = torch.device("cuda", number)
            torch.cuda.set_device(self.device)
        if self.count > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if device == "cuda" else "gloo")

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """The sum of each number over all processes."""
        if self.count == 1:
            return list(values)
        together = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(together)
        return [float(value) for value in together.tolist()]

    def mean(self, values: Sequence[float]) -> list[float]:
        """The mean of each number over all processes."""
        return [value / self.count for value in self.sum(values)]

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Replaces every gradient by its sum over all processes; it stays missing where none has one."""
        if self.count == 1:
            return
        missing = [parameter.grad is None for parameter in parameters]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        reached = parts[0].new_tensor([0.0 if absent else 1.0 for absent in missing])
        flat = torch.cat([reached, *(part.flatten() for part in parts)])
        distributed.all_reduce(flat)
        reached, *summed = flat.split([len(parts), *(part.numel() for part in parts)])
        for parameter, count, part in zip(parameters, reached.tolist(), summed, strict=True):
            parameter.grad = part.view_as(parameter) if count else None

    def close(self) -> None:
        if self.count > 1 and distributed.is_initialized():
            distributed.destroy_process_group()
