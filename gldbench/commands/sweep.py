"""What `gldbench run` does with a recipe or a sweep of recipes."""

from __future__ import annotations

from pathlib import Path

from gldbench.commands.options import print_json
from gldbench.commands.table import TableOptions
from gldfusion.errors import InputError
from gldfusion.paths import resolved


def run_recipe(name: str, output: Path | None, options: TableOptions, workers: int, engine: str, as_json: bool) -> None:
    """Runs a recipe or a sweep whole: caches, fusions, evaluations; prints the scores.

    Args:
        name: name of a shipped recipe or sweep, or path of a YAML file.
        output: folder of the run; None: runs/<name>.
        options: the options of `gldbench run` that experiments do not have.
        workers: number of worker processes.
        engine: key of `engines.ENGINES`.
        as_json: print one JSON document instead of text.

    Raises:
        InputError: an option does not belong to recipes, or the run cannot start.
    """
    from gldbench.console import print_rows, reporter
    from gldbench.sweep.definition import load_sweep, require_names

    for option in ("models", "backend", "report_only", "report", "plan"):
        if getattr(options, option):
            other = "use `gldbench plan RECIPE`" if option == "plan" else f"leave out --{option.replace('_', '-')}"
            raise InputError(f"--{option.replace('_', '-')} does not belong to recipes\n{other}")
    if options.substitute not in (None, "tiny"):
        raise InputError(f"--substitute {options.substitute}: a recipe takes tiny only\ngive --substitute tiny")
    sweep = load_sweep(name)
    only = tuple(part.strip() for part in options.only.split(",") if part.strip())
    require_names(sweep, only)
    run = resolved(output or Path("runs") / sweep.name)
    if options.substitute is not None:
        from gldbench.sweep.substitute import substituted

        sweep = substituted(sweep, run / "substitute")
    from gldbench.sweep.run import SweepOptions, run_sweep, scores  # slower to import: after the quick checks

    chosen = SweepOptions(only, options.data, options.limit, workers, 1, engine)
    with reporter(f"run {sweep.name}") as progress:
        ran = run_sweep(sweep, run, chosen, progress)
    found = scores(run)
    left_out = list(sweep.evaluation.tasks) if options.data is None else []
    if as_json:
        keys = ("checkpoint", "task", "items", "score")
        listed = [dict(zip(keys, one, strict=True)) for one in found]
        print_json({"run": run, "jobs_run": len(ran.seconds), "scores": listed, "left_out": left_out})
        return
    if found:
        print_rows(*[("checkpoint", "task", "items", "score"), *((c, t, str(n), f"{v:.4f}") for c, t, n, v in found)])
    if options.substitute is not None:
        print("a random model and made texts stand in for the models and the data: the scores mean nothing")
    if left_out:
        print(f"not evaluated: {', '.join(left_out)}; give --data DIR, or --data hub")
    print(f"run: {run}")
