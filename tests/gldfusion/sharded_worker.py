"""One of two processes that fuse recipes in float64 with FSDP2; started by test_sharded.py.

Arguments as those of double_worker.py. The file `<name>.parts` gets what the process held after the last step.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import gldfusion.fuse
import gldfusion.pivot
from gldfusion.prepare import Fusion
from gldfusion.trained import Trained
from tests.gldfusion.double_worker import fuse_all

collect = gldfusion.fuse.collect
load_model = gldfusion.pivot.load_model
loaded = 0


def load_and_count(*arguments: Any) -> Any:
    """Counts how often this process reads the weights of a pivot."""
    global loaded
    loaded += 1
    return load_model(*arguments)


def collect_and_note(fusion: Fusion) -> Trained:
    """Notes class, placement and size of every parameter, before the weights are collected."""
    parameters = {
        name: [type(p).__name__, p.placements[0].is_shard(0), p.numel(), p.to_local().numel()]
        for name, p in fusion.model.named_parameters()
    }
    moments = [type(v).__name__ for s in fusion.optimizer.state.values() for n, v in s.items() if n != "step"]
    note = {"parameters": parameters, "moments": moments, "loaded": loaded}
    rank = os.environ["RANK"]
    fusion.output.with_name(f"{fusion.output.name}.{rank}.parts").write_text(json.dumps(note))
    return collect(fusion)


if __name__ == "__main__":
    gldfusion.fuse.collect = collect_and_note
    gldfusion.pivot.load_model = load_and_count
    os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
    fuse_all(Path(sys.argv[1]), int(sys.argv[2]))
