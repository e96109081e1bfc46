"""What a training says while it runs: lines on standard error, a growing log file, and a tracker."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from accelerate.tracking import GeneralTracker

from gldfusion.errors import InputError
from gldfusion.files import atomic_write, hash_json
from gldfusion.prepare import Fusion
from gldfusion.progress import Watch, tracking_folder
from gldfusion.reading import one_line
from gldfusion.state import LIVE_LOG, Entry, Log


class LiveLog:
    """Writes the log of a training while it runs. Only the main process makes one.

    The file `training_log.jsonl` in the folder of the states gets each line in one write, so a killed process leaves no
    half line. A resumed training cuts it back to the step that it resumes from.
    """

    def __init__(self, fusion: Fusion, watch: Watch, log: Log) -> None:
        """Starts the log of the steps after those in `log`."""
        self.fusion = fusion
        self.say = watch.say or (lambda line: None)
        self.earlier = tuple(log)
        """the entries of the steps before this process's first one"""
        self.since = log[-1] if log else {"step": 0, "tokens": 0, "seconds": 0.0}
        """the last entry that a line was about"""
        self.shares: Mapping[str, float] = {}
        self.file: IO[str] | None = None
        self.trackers = [] if watch.tracker is None else _start_tracker(fusion, watch.tracker, first=len(log))
        self._begin()

    def _begin(self) -> None:
        """Says what is trained on what, and how a changed number of steps changes the learning rate."""
        fusion, log = self.fusion, self.earlier
        processes = fusion.accelerator.num_processes
        self.say(f"{fusion.steps} steps on {processes} process{'es' if processes > 1 else ''}, log: {self._path}")
        for line in data_lines(fusion):
            self.say(line)
        if log:
            self.say(f"resumed after step {len(log)}")
            if log[-1]["steps"] != fusion.steps:
                self.say(
                    f"the number of steps changed from {log[-1]['steps']} to {fusion.steps}: from step {len(log) + 1} "
                    f"on the learning rate follows the schedule of {fusion.steps} steps"
                )

    def add(self, entry: Entry) -> None:
        """Appends the entry of a step to the file, and tells the tracker; every `log_every` steps it says a line."""
        if self.file is None:
            self.file = self._open()
        self.file.write(json.dumps(entry) + "\n")
        self.file.flush()
        self.shares = entry["gradient_share"] or self.shares
        for tracker in self.trackers:
            tracker.log(_flat(entry), step=entry["step"])
        if entry["step"] % self.fusion.recipe.train.log_every == 0 or entry["step"] == self.fusion.steps:
            self.say(step_line(entry, self.since, self.shares, self.fusion.steps))
            self.since = entry
        if "validation" in entry:
            said = ", ".join(f"{name} {value:.4g}" for name, value in entry["validation"].items())
            self.say(f"step {entry['step']}: validation {said}{' (the best so far)' if entry['best'] else ''}")

    def close(self) -> None:
        """Closes the file and the tracker."""
        if self.file is not None:
            self.file.close()
        for tracker in self.trackers:  # Accelerator.end_training would also end the process group
            tracker.finish()

    @property
    def _path(self) -> Path:
        return self.fusion.state / LIVE_LOG

    def _open(self) -> IO[str]:
        """The file with the entries so far. What a killed process wrote after them is gone."""
        with atomic_write(self._path, "w") as file:
            file.writelines(json.dumps(entry) + "\n" for entry in self.earlier)
        return self._path.open("a", encoding="utf-8")


def step_line(entry: Entry, since: Mapping[str, Any], shares: Mapping[str, float], steps: int) -> str:
    """One line about a step.

    Args:
        entry: the log entry of the step.
        since: an earlier entry; speed and time left come from the steps after it.
        shares: the last measured shares of the gradient, by term.
        steps: number of steps in all.
    """
    seconds = max(entry["seconds"] - since["seconds"], 1e-9)
    left = (steps - entry["step"]) * seconds / max(1, entry["step"] - since["step"])
    terms = " + ".join(f"{name} {value:.4g}" for name, value in entry["terms"].items())
    parts = [f"step {entry['step']} of {steps}: loss {entry['loss']:.4g} = {terms}"]
    if shares:
        parts.append("gradient " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()))
    parts.append(f"learning rate {entry['learning_rate']:.3g}")
    parts.append(f"{(entry['tokens'] - since['tokens']) / seconds:,.0f} tokens/s")
    parts.append(f"{duration(left)} left")
    return "; ".join(parts)


def duration(seconds: float) -> str:
    """A time in words: "2 h 5 min", "3 min 10 s", "8 s"."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


def data_lines(fusion: Fusion, padding: float | None = None) -> list[str]:
    """What was cut and dropped, how the sources cover the data, and the padding.

    Args:
        fusion: the training.
        padding: the measured share of padding, at the end of a training. None: it is not known yet.
    """
    data = fusion.data
    dropped = len(data.examples) - len(data.usable)
    warning = "warning: " if data.truncated or dropped else ""
    length = fusion.recipe.train.max_length
    lines = [
        f"{warning}{len(data.examples)} examples: {data.truncated} cut at max_length {length}, "
        f"{dropped} dropped because no label was left"
    ]
    if fusion.coverage:
        shares = ", ".join(f"{name} {share:.1%}" for name, share in fusion.coverage.items())
        lines.append(f"coverage (share of the labelled positions that are paired with a source): {shares}")
    if padding is not None:
        lines.append(f"padding: {padding:.1%} of the places of all batches")
    elif fusion.unpacked is None:
        lines.append("texts are packed")
    else:
        lines.append(f"warning: texts are padded, not packed: {fusion.unpacked}")
    return lines


def _flat(entry: Entry) -> dict[str, float]:
    """The numbers of an entry by name, for a tracker."""
    out = {name: entry[name] for name in ("loss", "learning_rate", "tokens", "padding")}
    for group in ("terms", "gradient_share", "validation"):
        out |= {f"{group}/{name}": value for name, value in entry.get(group, {}).items()}
    return out


def _start_tracker(fusion: Fusion, name: str, first: int) -> list[GeneralTracker]:
    """Starts the tracker. A resumed training goes on in its files, after the steps that it keeps.

    Raises:
        InputError: the tracker's package fails, for example because it cannot reach its server.
    """
    recipe, train = fusion.recipe, fusion.recipe.train.model_dump(mode="json")
    folder = tracking_folder(fusion.output)
    os.makedirs(folder, exist_ok=True)
    settings = {key: value for key, value in train.items() if isinstance(value, int | float | str)}
    run = hash_json([str(fusion.output), fusion.identity])[:16]
    options = {
        "tensorboard": {"purge_step": first + 1},
        "wandb": {"name": recipe.name, "dir": str(folder), "id": run, "resume": "allow"},
        "mlflow": {"run_name": recipe.name},
    }
    project = recipe.name if name == "tensorboard" else "gldbench"
    config = None if name == "tensorboard" else settings  # its hparams would add a run of their own at each start
    try:
        if name == "mlflow":
            keep_mlflow_in(folder)
        fusion.accelerator.init_trackers(project, config, {name: options[name]})
    except Exception as error:  # each package has errors of its own
        reason = one_line(f"{type(error).__name__}: {error}", 200)
        raise InputError(f"the tracker {name} did not start ({reason})\nmend it, or give --tracker none") from error
    return fusion.accelerator.trackers


def keep_mlflow_in(folder: Path) -> None:
    """Lets MLflow write into a folder, unless its environment variable names a server or another place.

    By itself it writes into the current folder.
    """
    if "MLFLOW_TRACKING_URI" not in os.environ:
        importlib.import_module("mlflow").set_tracking_uri(f"sqlite:///{(folder / 'mlflow.db').resolve()}")
