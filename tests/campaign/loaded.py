"""Imports all that the commands import, once, in the server that `commands.forked` forks."""

import torch

torch.set_num_threads(1)  # a fork copies no threads
