"""How a long piece of work tells its caller how far it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from gldfusion.errors import InputError, require_known

Progress = Callable[[int, int], None]
"""Called as `progress(done, total)`: the units that are done, and the units in all.

The function that takes a `Progress` says what its unit is, for example optimizer steps or texts.
"""


@dataclass(frozen=True)
class Watch:
    """Who hears of a training while it runs. Nothing here changes the trained weights."""

    say: Callable[[str], None] | None = None
    """called in the main process with each line of the live log, without line end"""
    tracker: str | None = None
    """a tracker of Accelerate: "tensorboard", "wandb" or "mlflow" """
    evaluate: Callable[[Path], Mapping[str, float]] | None = None
    """called in the main process with a checkpoint folder at every evaluation (`train.evaluate_every`). It returns
    scores by name; higher is better"""


TRACKERS = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",), "mlflow": ("mlflow",)}
"""name of a tracker -> the packages of which one must be installed"""


def require_tracker(name: str) -> None:
    """Checks that a tracker is known and installed.

    Raises:
        InputError: it is not.
    """
    require_known("tracker", name, TRACKERS)
    if not installed(name):
        package = TRACKERS[name][0]
        raise InputError(f"the tracker {name} needs the package {package}\ninstall it: pip install {package}")


def installed(name: str) -> bool:
    """Whether a package of a tracker is installed."""
    return any(find_spec(package) is not None for package in TRACKERS[name])


def tracking_folder(output: Path) -> Path:
    """Where trackers keep their files: the folder `<output>.tracking` beside the output."""
    return output.with_name(f"{output.name}.tracking")
