"""What a run will do, before anything starts: worlds, models, fusions, evaluations, steps, tokens and hours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gldbench.jobs import Ran
from gldbench.protocol.arms import own_terms
from gldbench.spec import Spec, models_of, subjects_of, worlds_of
from gldfusion.errors import InputError
from gldfusion.files import hash_json, write_json
from gldfusion.reading import plain_line, read_object
from gldfusion.recipe import steps_of

SECONDS = "seconds.json"
"""file of a run: seconds of its finished jobs, by kind"""
STATED = {"data": 5.0, "train": 0.06, "logits": 20.0, "fuse": 0.06, "evaluate": 10.0}
"""seconds of a job where nothing was measured; of train and fuse: seconds of a step of 16 sequences of 128 tokens"""


@dataclass(frozen=True)
class Work:
    """One kind of work of a run."""

    kind: str
    """first word of the names of its jobs"""
    jobs: int
    steps: int = 0
    """optimizer steps of all these jobs"""
    tokens: int = 0
    """most tokens that all these jobs train on; 0 if they train nothing"""
    seconds: float = 0.0
    """expected seconds of all these jobs, summed over workers"""


@dataclass(frozen=True)
class Forecast:
    """What a run will do, done jobs included."""

    worlds: tuple[int, ...]
    tuning_worlds: tuple[int, ...]
    trials: int
    """checkpoints of the tuning at most; equal trials are made once"""
    work: tuple[Work, ...]
    measured: str
    """where the seconds come from"""

    @property
    def seconds(self) -> float:
        """Seconds of all jobs, summed over workers."""
        return sum(work.seconds for work in self.work)


def forecast(spec: Spec, runs: Path) -> Forecast:
    """Counts the work of an experiment.

    Args:
        spec: the experiment.
        runs: folder of all runs; the seconds of finished jobs of an equal world are used.
    """
    measured, source = _measured(spec, runs)
    tuning = spec.tuning
    extra = tuple(seed for seed in (tuning.worlds if tuning else ()) if seed not in worlds_of(spec))
    worlds, models = len(worlds_of(spec)) + len(extra), models_of(spec.world)
    trials = _trials(spec)
    fused = [subject for subject in subjects_of(spec) if subject.method in spec.methods]
    fusions = len(fused) + trials
    evaluations = len(subjects_of(spec)) + trials + len(models) * len(tuning.worlds if tuning else ())

    def work(kind: str, jobs: int, steps: int = 0, size: int = 0, length: int = 0) -> Work:
        stated = STATED[kind] * (steps * size * length / (16 * 128) if steps else jobs)
        seconds = measured[kind] * jobs if kind in measured else stated
        return Work(kind, jobs, steps, steps * size * length, seconds)

    trained = [
        work("train", worlds, worlds * steps_of(m.train, m.examples), m.train.batch_size, m.train.max_length)
        for m in models.values()
    ]
    train = Work(
        "train",
        sum(w.jobs for w in trained),
        sum(w.steps for w in trained),
        sum(w.tokens for w in trained),
        sum(w.seconds for w in trained),
    )
    fusion = spec.fusion.train
    steps = fusions * steps_of(fusion, spec.fusion.examples)
    return Forecast(
        worlds=tuple(worlds_of(spec)),
        tuning_worlds=tuning.worlds if tuning else (),
        trials=trials,
        work=(
            work("data", worlds),
            train,
            work("logits", worlds * (len(models) - 1 - len(spec.world.specialists))),
            work("fuse", fusions, steps, fusion.batch_size, fusion.max_length),
            work("evaluate", evaluations),
        ),
        measured=source,
    )


def note_seconds(spec: Spec, run: Path, ran: Ran) -> None:
    """Adds the seconds of finished jobs to those of earlier calls, for later forecasts."""
    path = run / SECONDS
    kinds = _read(path)[1] if path.is_file() else {}
    for name, seconds in ran.seconds.items():
        count = kinds.setdefault(name.partition(" ")[0], [0, 0.0])
        count[0] += 1
        count[1] += seconds
    if ran.seconds:
        write_json(path, {"key": _key(spec), "jobs": kinds})


def _trials(spec: Spec) -> int:
    if spec.tuning is None:
        return 0
    tuning, settings = spec.tuning, len(spec.tuning.learning_rates) or 1
    for name, method in spec.methods.items():
        if own_terms(spec, name):
            settings += len(tuning.weights) - 1 + sum(len(values) - 1 for values in method.choices.values())
    return settings * len(tuning.seeds) * len(tuning.worlds)


def _key(spec: Spec) -> str:
    """A name for what decides how long jobs take: the world but its seed, and the settings of all fusions."""
    world = spec.world.model_dump(mode="json", by_alias=True)
    world.pop("seed")
    train = spec.fusion.train.model_dump(mode="json", exclude={"learning_rate", "seed"})
    return hash_json([world, train, spec.fusion.examples, spec.evaluation.max_tokens])[:12]


def _measured(spec: Spec, runs: Path) -> tuple[Mapping[str, float], str]:
    """Seconds of one job of each kind, and where they come from."""
    totals: dict[str, list[float]] = {}
    used = []
    for path in sorted(runs.glob(f"*/{SECONDS}")):
        key, jobs = _read(path)
        if key == _key(spec):
            used.append(path.parent.name)
            for kind, (count, seconds) in jobs.items():
                own = totals.setdefault(kind, [0, 0.0])
                own[0] += count
                own[1] += seconds
    seconds = {kind: total / count for kind, (count, total) in totals.items()}
    missing = [kind for kind in STATED if kind not in seconds]
    source = (
        f"measured in {', '.join(used)}" if used else "stated rates, because no run of this world has finished jobs"
    )
    if used and missing:
        source += f"; stated rates for {', '.join(missing)}"
    return seconds, source


def _read(path: Path) -> tuple[str, dict[str, list[float]]]:
    """The key of a file of seconds, and kind -> [jobs, seconds of all].

    Raises:
        InputError: the file is damaged.
    """
    mend = "delete this file: only forecasts use it"
    content = read_object(path, "seconds of jobs", mend)
    try:
        jobs = {str(kind): [float(count), float(seconds)] for kind, (count, seconds) in content["jobs"].items()}
        if any(count < 1 for count, _ in jobs.values()):
            raise ValueError("a kind without jobs")
        return str(content["key"]), jobs
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} has another form: {plain_line(error)}\n{mend}") from None
