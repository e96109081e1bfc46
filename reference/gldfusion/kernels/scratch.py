"""A large buffer that is used again in the next step."""

from __future__ import annotations

import torch
from torch import Tensor


class Scratch:
    """Holds one buffer between two uses.

    On a CPU, fresh memory of this size comes from the system, which fills it page by page: for 512 MiB that took a
    fourth of a second in every step. On CUDA torch keeps freed memory itself, so nothing is held here.
    """

    def __init__(self) -> None:
        self._spare: Tensor | None = None

    def take(self, rows: int, columns: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """A buffer [rows, columns] with any content. Nobody else has it until it is given back."""
        size, spare = rows * columns, self._spare
        self._spare = None
        if spare is None or spare.numel() < size or (spare.dtype, spare.device) != (dtype, device):
            spare = torch.empty(size, dtype=dtype, device=device)
        return spare[:size].view(rows, columns)

    def give_back(self, buffer: Tensor) -> None:
        """Keeps a buffer that `take` returned. The caller must not use it any more."""
        if buffer.device.type == "cpu":
            self._spare = torch.as_strided(buffer, (buffer.untyped_storage().nbytes() // buffer.itemsize,), (1,), 0)
