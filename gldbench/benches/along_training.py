"""Measures, while a pivot is trained, how far gGW is from exact distances, and how large the gradients of losses are.

    python -m gldbench.benches.along_training                     world 10 of the spec compare
    python -m gldbench.benches.along_training --spec tiny --world-seed 0

The methods of a spec are trained as `gldbench run` trains them. A world that does not exist in --worlds is built first,
which takes some minutes. At several moments of each training, the first of them step 0, the pivot and every source read
the same texts of the validation set. Two things are measured on each text, for the pivot against each source:

- distance: gGW between their co-activation graphs, as the loss gld computes it, and the certified interval of the exact
  Gromov-Wasserstein distance, for node values logprob (as the loss by default) and raw (as in the paper).
- gradient: the norm of the gradient of gld (raw values), uld and kl, each divided by its number of units, with respect
  to the pivot's logits at all positions. The norm is measured at the logits as they are, and with Gaussian noise e of
  several standard deviations added to them. change: |gradient at x + e - gradient at x| / |e|. kl is measured only
  against sources that have the pivot's vocabulary.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from gldbench.benches.command_line import Script
from gldbench.benches.draw_along_training import PIVOT
from gldbench.benches.measure_pivot import Numbers, Texts, measure_pivot, read_texts
from gldbench.benches.write_along_training import write_report
from gldbench.benches.write_rows import as_json, row, write
from gldbench.console import reporter
from gldbench.engines import run_serially
from gldbench.jobs import Report
from gldbench.methods.train import recipe_of, sources_of
from gldbench.protocol.arms import Choice
from gldbench.protocol.tuned import TUNING, Tuning, read_tuning
from gldbench.run import settled
from gldbench.schema import Row
from gldbench.spec import Spec, load_spec
from gldbench.timing import pinned_threads
from gldbench.worlds.build import check_world, fusion_sample, world_folder, world_jobs
from gldfusion.errors import InputError, require_known
from gldfusion.files import lock
from gldfusion.fuse import fuse
from gldfusion.progress import Watch
from gldfusion.recipe import Recipe, steps_of

NAME = "along_training"
REPORT = Path("reports/along-training")
ARMS = ("sft", "sft+uld", "sft+uld+gld", "sft+kl")


def built(spec: Spec, worlds: Path, threads: int, report: Report) -> Path:
    """The folder of the spec's world. What is missing of it is built; a complete world is only read."""
    folder = world_folder(spec.world, worlds)
    jobs = world_jobs(spec.world, folder)
    if not all(job.done() for job in jobs):
        with lock(folder / ".lock"):
            run_serially(jobs, workers=1, threads=threads, report=report)
    return folder


def moments_of(recipe: Recipe, examples: int, count: int) -> list[int]:
    """The steps at which a training is measured: 0, then at equal distances, and the last one.

    Args:
        recipe: the training.
        examples: number of examples of its data.
        count: number of moments, at least 2. There are fewer if the training has fewer steps.
    """
    steps = steps_of(recipe.train, examples)
    every = -(-steps // (count - 1))
    return [*range(0, steps, every), steps]


def watched(recipe: Recipe, moments: Sequence[int], texts: Texts, output: Path, report: Report) -> list[Numbers]:
    """Trains the pivot of a recipe, and measures it at all moments but the first. Training does not depend on that."""
    found: list[Numbers] = []

    def evaluate(checkpoint: Path) -> Mapping[str, float]:
        found.append(measure_pivot(checkpoint, texts))
        return {"log-probability": -found[-1]["validation", "all texts", "labels", "nll"]}

    train = recipe.train.model_copy(update={"evaluate_every": moments[1]})
    fuse(recipe.model_copy(update={"train": train}), output, partial(report, recipe.name), Watch(evaluate=evaluate))
    report(recipe.name, 1, 1)
    return found


def measure(spec: Spec, world: Path, arms: Sequence[str], given: Namespace, report: Report) -> Iterator[Row]:
    """All rows.

    Args:
        spec: the experiment in one world, with resolved methods.
        world: folder of the world.
        arms: methods of the spec.
        given: the options seed, moments and sequences.
        report: called with the progress of each training.
    """
    for arm in arms:
        report(arm, 0, 1)
    names = dict.fromkeys(name for arm in arms for name in sources_of(spec, spec.methods[arm]))
    texts = read_texts(world, list(names), spec.world.k, spec.fusion.train.max_length, given.sequences)
    sizes: Numbers = {
        ("setting", "all texts", "", "texts"): len(texts.batches),
        ("setting", "all texts", "", "k"): texts.k,
    }
    yield from _rows(spec, PIVOT, 0, 0, sizes | measure_pivot(world / "models" / "pivot", texts))
    with tempfile.TemporaryDirectory() as scratch:
        data = fusion_sample(world, given.seed, spec.fusion.examples, Path(scratch) / "fusion.jsonl")
        examples = len(data.read_text().splitlines())
        for arm in arms:
            recipe = recipe_of(spec, spec.methods[arm], world, data, given.seed, arm)
            moments = moments_of(recipe, examples, given.moments)
            yield from _rows(spec, arm, given.seed, moments[-1], _settings(recipe))
            found = watched(recipe, moments, texts, Path(scratch) / arm, report)
            for step, numbers in zip(moments[1:], found, strict=True):
                yield from _rows(spec, arm, given.seed, step, numbers)


def _settings(recipe: Recipe) -> Numbers:
    """The settings of a training that a reader of the report needs."""
    found: Numbers = {("setting", "training", "sft", "learning_rate"): recipe.train.learning_rate}
    return found | {("setting", "training", term.loss, "weight"): term.weight for term in recipe.terms}


def _rows(spec: Spec, arm: str, seed: int, step: int, numbers: Numbers) -> Iterator[Row]:
    for (task, variant, subject, metric), value in numbers.items():
        made = row(task, variant, subject, metric, value, "nat" if metric == "nll" else "1", method=arm, item=str(step))
        yield replace(made, suite=NAME, world_seed=spec.world.seed, seed=seed)


def _script() -> Script:
    script = Script(NAME, __doc__)
    script.option("--spec", "compare", "Spec whose world, methods and training are used.", metavar="SPEC")
    script.option("--world-seed", None, "Seed of the world. Without it, the first of the spec.", type=int, metavar="N")
    script.option("--worlds", Path("runs/worlds"), "Folder of all worlds.", type=Path, metavar="FOLDER")
    help = "Run whose tuned weights and learning rate are used. Without it, those of the spec."
    script.option("--tuned-by", None, help, type=Path, metavar="RUN")
    help = "Factor of the weights of a method's own terms, as a tuning would choose it, for example sft+uld+gld=0.01."
    script.option("--weight", (), help, nargs="+", metavar="METHOD=FACTOR")
    script.option("--arms", ARMS, "Methods of the spec to train.", nargs="+", metavar="METHOD")
    script.whole("--seed", 0, "Seed of the fusions.", least=0)
    script.whole("--steps", 0, "Steps of each training; 0 stands for those of the spec.", quick=6, least=0)
    script.whole("--moments", 8, "Moments at which each training is measured.", quick=2, least=2)
    script.whole("--sequences", 16, "Texts of the validation set that are measured.", quick=2)
    script.threads()
    script.output(REPORT)
    return script


def chosen_spec(given: Namespace) -> Spec:
    """The experiment that the options name: one world, resolved methods, tuned weights, the wanted number of steps.

    Raises:
        InputError: there is no such spec or method, or the run has not chosen its weights yet.
    """
    spec = load_spec(given.spec)
    tuning = None if given.tuned_by is None else read_tuning(given.tuned_by)
    if given.tuned_by is not None and tuning is None:
        raise InputError(f"--tuned-by: {given.tuned_by} has no {TUNING}\nname a run of a spec that tunes its weights")
    seed = given.world_seed if given.world_seed is not None else next(iter(spec.worlds), spec.world.seed)
    for arm in given.arms:
        require_known("method of this spec", arm, spec.methods)
    tuning = tuning or Tuning(None, {}, ())
    spec = settled(spec, replace(tuning, choices={**tuning.choices, **_factors(given.weight, tuning, spec)}))
    for arm in given.arms:
        if spec.methods[arm].kind != "train":
            raise InputError(f"--arms: {arm} is not made by training\nname methods of the kind train")
    if not any(spec.methods[arm].terms for arm in given.arms):
        raise InputError(
            "--arms: no method learns from a source, so there is nothing to measure\nadd sft+uld or sft+kl"
        )
    train = spec.fusion.train
    if given.steps:
        train = train.model_copy(update={"steps": given.steps, "epochs": None})
    fusion = spec.fusion.model_copy(update={"train": train})
    spec = spec.model_copy(update={"world": spec.world.model_copy(update={"seed": seed}), "fusion": fusion})
    check_world(spec.world)
    return spec


def _factors(words: Sequence[str], tuning: Tuning, spec: Spec) -> dict[str, Choice]:
    """What --weight chooses, by method. Options that a tuning chose stay."""
    found = {}
    for word in words:
        method, _, text = word.rpartition("=")
        require_known("method of this spec", method, spec.methods)
        try:
            factor = float(text)
        except ValueError:
            factor = -1.0
        if not 0 <= factor < math.inf:
            raise InputError(f"--weight: expected METHOD=FACTOR with a number of at least 0, got {word}")
        found[method] = replace(tuning.choices.get(method, Choice()), weight=factor)
    return found


def _work(given: Namespace) -> int:
    spec = chosen_spec(given)
    arms = list(dict.fromkeys(given.arms))
    with pinned_threads(given.threads), reporter(NAME) as report:
        world = built(spec, given.worlds, given.threads, report)
        rows = list(measure(spec, world, arms, given, report))
    path = given.output and write(rows, given.output, NAME, given.threads, given.quick)
    page = path and write_report(path, spec.name)
    if given.json:
        print(json.dumps({"rows": as_json(rows), "file": path and str(path)}, indent=2))
        return 0
    print(page or f"measured {len(rows)} values; --output FOLDER writes them and a report")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the script; returns the exit code."""
    return _script().run(_work, arguments)


if __name__ == "__main__":
    sys.exit(main())
