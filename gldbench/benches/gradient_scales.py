"""Measures how hard each term of a spec pulls with weight 1, so that changed losses can be given a weight by rule.

    python -m gldbench.benches.gradient_scales                     compare-ablations, in its first tuning world
    python -m gldbench.benches.gradient_scales --spec compare-explore --arms sft+gld sft+gld-slb

A part of a loss can be changed fairly only if the changed loss pulls as hard as the one that it is compared with: with
one weight for all, a sum over positions would pull a hundred times harder than their mean. Each method of the spec is
trained for some steps, as `gldbench run` trains it. The training log holds the share of each term in the gradient. The
table prints, for the last term of each method: the norm of its gradient with weight 1, divided by that of the sft term,
as the geometric mean over the steps that were measured; and the factor by which its weight must be multiplied to pull
as hard as the last term of the reference with the same weight.
"""

from __future__ import annotations

import json
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import geometric_mean

from gldbench.benches.along_training import built
from gldbench.benches.command_line import Script
from gldbench.benches.write_rows import as_json, row, write
from gldbench.console import print_rows, reporter
from gldbench.jobs import Report
from gldbench.methods.train import recipe_of
from gldbench.protocol.arms import resolved_methods
from gldbench.schema import Row
from gldbench.spec import Spec, load_spec
from gldbench.timing import pinned_threads
from gldbench.worlds.build import check_world, fusion_sample
from gldfusion.errors import InputError, require_known
from gldfusion.fuse import fuse

NAME = "gradient_scales"
REPORT = Path("reports/along-training")
PAPER = "sft+uld+gld"
METRIC = "gradient norm with weight 1, over that of sft"


def pull(spec: Spec, arm: str, world: Path, data: Path, steps: int, report: Report) -> float:
    """The norm of the gradient of a method's last term with weight 1, summed over sources, over that of sft.

    Args:
        spec: the experiment, with resolved methods.
        arm: one of its methods.
        world: folder of the world.
        data: the sample of the fusion set.
        steps: number of steps; every fifth is measured, from the first.
        report: called with the progress.

    Returns:
        The geometric mean over the measured steps; 0 if the term has no gradient.
    """
    train = spec.fusion.train.model_copy(update={"steps": steps, "epochs": None, "probe_every": 5})
    changed = spec.model_copy(update={"fusion": spec.fusion.model_copy(update={"train": train})})
    recipe = recipe_of(changed, spec.methods[arm], world, data, spec.fusion.seeds[0], arm)
    with tempfile.TemporaryDirectory() as scratch:
        fuse(recipe, Path(scratch) / "fused", partial(report, arm))
        lines = (Path(scratch) / "fused" / "training_log.jsonl").read_text().splitlines()
    report(arm, 1, 1)
    last = recipe.terms[-1]
    measured = [found for line in lines if (found := json.loads(line)["gradient_share"])]
    own = [sum(share for name, share in found.items() if name.split("/")[-1] == last.loss) for found in measured]
    ratios = [one / found["sft"] / last.weight for one, found in zip(own, measured, strict=True)]
    return geometric_mean(ratios) if min(ratios) > 0 else 0.0


def measure(spec: Spec, world: Path, arms: Sequence[str], steps: int, report: Report) -> Iterator[Row]:
    """One row for the last term of each method."""
    for arm in arms:
        report(arm, 0, 1)
    with tempfile.TemporaryDirectory() as scratch:
        data = fusion_sample(world, spec.fusion.seeds[0], spec.fusion.examples, Path(scratch) / "fusion.jsonl")
        for arm in arms:
            found = pull(spec, arm, world, data, steps, report)
            loss = spec.methods[arm].terms[-1].loss
            made = row("gradient_scale", loss, arm, METRIC, found, "1", method=arm, item=str(steps))
            yield replace(made, suite=NAME, world_seed=spec.world.seed, seed=spec.fusion.seeds[0])


def _script() -> Script:
    script = Script(NAME, __doc__)
    script.option("--spec", "compare-ablations", "Spec whose methods are trained.", metavar="SPEC")
    script.option("--world-seed", None, "Seed of the world. Without it, a tuning world.", type=int, metavar="N")
    script.option("--worlds", Path("runs/worlds"), "Folder of all worlds.", type=Path, metavar="FOLDER")
    help = f"Method whose last term is the reference. Without it {PAPER}, or the first method of the spec with terms."
    script.option("--reference", None, help, metavar="METHOD")
    script.option("--arms", (), "Methods of the spec. Without it, all that have terms.", nargs="+", metavar="METHOD")
    script.whole("--steps", 16, "Steps of each training.", quick=1)
    script.threads()
    script.output(REPORT)
    return script


def _work(given: Namespace) -> int:
    spec = load_spec(given.spec)
    for arm in filter(None, (given.reference, *given.arms)):
        require_known("method of this spec", arm, spec.methods)
    methods = resolved_methods(spec, {})
    trained = [name for name, one in methods.items() if one.kind == "train" and one.terms and not one.on_policy]
    reference = given.reference or next((name for name in (PAPER, *trained) if name in trained), None)
    if reference is None:
        raise InputError(f"no method of the spec {spec.name} is trained with terms\nname another one with --spec")
    for option, arm in (("--reference", reference), *(("--arms", arm) for arm in given.arms)):
        if arm not in trained:
            raise InputError(f"{option}: {arm} is not trained with terms\nname a method that learns from a source")
    arms = list(dict.fromkeys((reference, *(given.arms or trained))))
    seed = given.world_seed
    if seed is None:
        seed = spec.tuning.worlds[0] if spec.tuning else spec.world.seed
    spec = spec.model_copy(update={"methods": methods, "world": spec.world.model_copy(update={"seed": seed})})
    check_world(spec.world)
    with pinned_threads(given.threads), reporter(NAME) as report:
        world = built(spec, given.worlds, given.threads, report)
        rows = list(measure(spec, world, arms, given.steps, report))
    path = given.output and write(rows, given.output, f"{NAME}.{spec.name}", given.threads, given.quick)
    if given.json:
        print(json.dumps({"rows": as_json(rows), "file": path and str(path)}, indent=2))
        return 0
    target = rows[0].value or 0.0
    lines = [(r.subject, r.variant, f"{r.value:.3g}", f"{target / r.value:.2g}" if r.value else "none") for r in rows]
    print_rows(("method", "term", "pull with weight 1", "factor"), *lines)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the script; returns the exit code."""
    return _script().run(_work, arguments)


if __name__ == "__main__":
    sys.exit(main())
