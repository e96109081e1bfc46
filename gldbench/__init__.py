"""gldbench: evaluate fused language models and measure Gromov-Wasserstein approximations."""

__version__ = "0.1.0"
