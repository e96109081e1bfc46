"""How a long piece of work tells its caller how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called as `progress(done, total)`: the units that are done, and the units in all.

The function that takes a `Progress` says what its unit is, for example optimizer steps or texts.
"""
