"""The peak memory of a piece of work."""

from __future__ import annotations

from pathlib import Path

import torch

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class PeakMemory:
    """The peak memory use, in bytes, since this object was made.

    On a GPU: the peak of torch's allocator. On a CPU: the peak resident set size of this process (Linux only).
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.known = True
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        try:
            _CLEAR.write_text("5")  # 5 resets the peak resident set size
        except OSError:  # not Linux, or a sandbox forbids it: the peak of earlier work would be counted
            self.known = False

    def read(self) -> int | None:
        """The peak in bytes, or None if the system does not report it."""
        if not self.known:
            return None
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        peak = [line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(peak[0].split()[1]) * 1024 if peak else None
