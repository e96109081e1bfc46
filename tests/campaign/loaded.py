"""Imports all that the commands import, once, in the server that `commands.forked` forks."""

import lm_eval.api.task  # noqa: F401  pyright: ignore[reportUnusedImport]
import lm_eval.evaluator  # noqa: F401  pyright: ignore[reportUnusedImport]
import torch

import gldbench.cli  # noqa: F401  pyright: ignore[reportUnusedImport]
import gldbench.commands.cache  # noqa: F401  pyright: ignore[reportUnusedImport]
import gldbench.evaluate.evaluate  # noqa: F401  pyright: ignore[reportUnusedImport]
import gldbench.evaluate.score  # noqa: F401  pyright: ignore[reportUnusedImport]
import gldbench.generate.hf  # noqa: F401  pyright: ignore[reportUnusedImport]
import gldbench.gw.report  # noqa: F401  pyright: ignore[reportUnusedImport]
import gldbench.run  # noqa: F401  pyright: ignore[reportUnusedImport]
import gldfusion.fuse  # noqa: F401  pyright: ignore[reportUnusedImport]

torch.set_num_threads(1)  # a fork copies no threads
