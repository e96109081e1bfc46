"""Peak memory of a piece of work."""

from __future__ import annotations

from pathlib import Path

import torch

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class PeakMemory:
    """Peak bytes since construction: of the GPU's allocator, else the resident set of this process (Linux)."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.known = True
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        try:
            _CLEAR.write_text("5")  # 5: reset the peak resident set size
        except OSError:  # not Linux, or a sandbox that forbids it: the peak would be that of earlier work
            self.known = False

    def read(self) -> int | None:
        """Peak bytes, or None where the system does not tell."""
        if not self.known:
            return None
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        peak = [line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(peak[0].split()[1]) * 1024 if peak else None
