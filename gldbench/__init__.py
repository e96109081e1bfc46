"""gldbench: fuses language models, evaluates them, and measures approximations of Gromov-Wasserstein distances."""

__version__ = "0.1.0"
