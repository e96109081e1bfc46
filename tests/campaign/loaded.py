"""Imports all that the commands import, once, in the server that `commands.forked` forks."""

import importlib

import torch

MODULES = (
    *("lm_eval.api.task", "lm_eval.evaluator", "gldbench.cli", "gldbench.commands.cache", "gldbench.evaluate.evaluate"),
    *("gldbench.evaluate.score", "gldbench.generate.hf", "gldbench.gw.report", "gldbench.run", "gldfusion.fuse"),
    *("gldbench.items.read", "gldbench.report", "gldbench.compare.comparison", "gldfusion.cache"),
)
for module in MODULES:
    importlib.import_module(module)
torch.set_num_threads(1)  # a fork copies no threads
