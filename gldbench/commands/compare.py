"""`gldbench compare A B`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gldbench.commands.options import Json, print_json

if TYPE_CHECKING:
    from gldbench.compare.comparison import CheckpointComparison, MeanPair
    from gldbench.compare.gate import Gate, GateResult
    from gldbench.schema import Estimate

HEADER = ("task", "metric", "items", "A", "B", "B - A", "95 % interval", "differ", "p", "p (Holm)", "test")

GATE_HEADER = ("task", "verdict", "B - A", "95 % interval", "items", "shown by these items", "items for the margin")
EXIT_CODES = {"PASS": 0, "WORSE": 1, "INCONCLUSIVE": 3}


def as_json(result: CheckpointComparison) -> dict[str, Any]:
    """The comparison as JSON types: scores in [0, 1], differences B - A, p before and after Holm's correction."""
    tasks = []
    for item in result.tasks:
        paired, difference = item.paired, item.paired.mean
        tasks.append(
            {
                "task": item.task.name,
                "metric": item.metric,
                "n": difference.estimate.n,
                "a": paired.first,
                "b": paired.second,
                **_difference_json(difference.estimate),
                "se": difference.se,
                "clusters": difference.n_units if difference.clustered else None,
                "p": paired.p,
                "p_holm": item.p_holm,
                "test": paired.test,
                "n_discordant": paired.n_discordant,
                "p_clustered": paired.p_clustered,
                "by_subtask": None if item.by_subtask is None else _pair_json(item.by_subtask),
                "only_a": item.only_a,
                "only_b": item.only_b,
            }
        )
    macro = {"tasks": result.averaged, **_pair_json(result.macro)}
    return {"a": result.a.name, "b": result.b.name, "tasks": tasks, "macro": macro, "notes": result.notes}


def _difference_json(estimate: Estimate) -> dict[str, Any]:
    return {"difference": estimate.value, "low": estimate.low, "high": estimate.high, "interval": estimate.method}


def _pair_json(pair: MeanPair) -> dict[str, Any]:
    return {"a": pair.a, "b": pair.b, **_difference_json(pair.difference)}


def table(result: CheckpointComparison) -> list[tuple[str, ...]]:
    """HEADER, then one row of text per task and per mean over subtasks, and one for the mean over tasks."""
    lines: list[tuple[str, ...]] = [HEADER]
    for item in result.tasks:
        paired = item.paired
        own = _cells(paired.first, paired.second, paired.mean.estimate)
        tested = (str(paired.n_discordant), f"{paired.p:.3g}", f"{item.p_holm:.3g}", paired.test)
        lines.append((item.task.name, item.metric, str(paired.mean.estimate.n), *own, *tested))
        if item.by_subtask:
            lines.append(
                (f"{item.task.name}, mean of subtasks", item.metric, "", *_pair_cells(item.by_subtask), *[""] * 4)
            )
    if len(result.averaged) > 1:
        lines.append((f"mean of {len(result.averaged)} tasks", "", "", *_pair_cells(result.macro), *[""] * 4))
    return lines


def _pair_cells(pair: MeanPair) -> tuple[str, ...]:
    return _cells(pair.a, pair.b, pair.difference)


def _cells(a: float, b: float, estimate: Estimate) -> tuple[str, ...]:
    interval = f"{estimate.low:+.3f} to {estimate.high:+.3f}"
    return f"{a:.3f}", f"{b:.3f}", f"{estimate.value:+.3f}", interval


def gate_json(judged: Gate) -> dict[str, Any]:
    """The verdicts of the gate as JSON types."""

    def one(result: GateResult) -> dict[str, Any]:
        return {
            "name": result.name,
            "verdict": result.verdict,
            **_difference_json(result.difference),
            "detectable": result.detectable,
            "items_needed": result.items_needed,
        }

    return {
        "margin": judged.margin,
        "verdict": judged.overall.verdict,
        "mean": one(judged.overall),
        "tasks": [one(result) for result in judged.tasks],
        "sunk": judged.sunk,
    }


def gate_table(judged: Gate) -> list[tuple[str, ...]]:
    """GATE_HEADER, then one row of text per task and one for the mean over tasks."""
    results = [*judged.tasks, judged.overall] if len(judged.tasks) > 1 else judged.tasks
    return [
        GATE_HEADER,
        *(
            (
                result.name,
                result.verdict,
                f"{result.difference.value:+.3f}",
                f"{result.difference.low:+.3f} to {result.difference.high:+.3f}",
                str(result.difference.n),
                f"{result.detectable:.3f}",
                "" if result.items_needed is None else f"{result.items_needed:,}",
            )
            for result in results
        ),
    ]


def compare(
    a: Annotated[
        str,
        typer.Argument(metavar="A", help="Output folder of `gldbench eval`, or FOLDER:CHECKPOINT if it holds several."),
    ],
    b: Annotated[
        str,
        typer.Argument(metavar="B", help="The second result, in the same form as A. It may lie in the same folder."),
    ],
    task: Annotated[str, typer.Option(help="Comma-separated tasks. Default: all tasks that both have.")] = "",
    variant: Annotated[
        str | None,
        typer.Option(
            help="Prompt variant, or set of a `gldbench run`. Default: the only one that both have; "
            "if they share several, the task's default, or the set test."
        ),
    ] = None,
    across_environments: Annotated[
        bool, typer.Option("--across-environments", help="Compare scores from different devices or library versions.")
    ] = False,
    across_versions: Annotated[
        bool, typer.Option("--across-versions", help="Compare scores of different versions of a task.")
    ] = False,
    across: Annotated[
        str,
        typer.Option(
            help="Comma-separated differences to accept: generation (token limit, library, data type), stop, "
            "chat_template, grader."
        ),
    ] = "",
    gate: Annotated[
        float | None,
        typer.Option(
            help="Judge whether B is worse than A by more than this margin (0.02: two points). "
            "Exit code 0: PASS, 1: WORSE, 3: INCONCLUSIVE."
        ),
    ] = None,
    json_wanted: Json = False,
) -> None:
    """Compare two evaluated checkpoints on the same items: paired intervals, tests, Holm's correction over tasks."""
    from gldbench.compare.comparison import compare as run_comparison
    from gldbench.compare.gate import gate as judge
    from gldbench.console import print_rows
    from gldbench.tasks import expand

    result = run_comparison(
        a,
        b,
        expand(task) if task else (),
        variant=variant,
        across=[name.strip() for name in across.split(",") if name.strip()],
        across_environments=across_environments,
        across_versions=across_versions,
    )
    judged = None if gate is None else judge(result, gate)
    if json_wanted:
        print_json(as_json(result) | ({} if judged is None else {"gate": gate_json(judged)}))
    else:
        print(f"A: {result.a.name}\nB: {result.b.name}\n")
        print_rows(*table(result))
        for note in result.notes:
            print(f"note: {note}")
        if judged is not None:
            _print_gate(judged)
    if judged is not None:
        raise typer.Exit(EXIT_CODES[judged.overall.verdict])


def _print_gate(judged: Gate) -> None:
    from gldbench.console import print_rows

    print(f"\ngate: B may be worse than A by at most {judged.margin:g}\n")
    print_rows(*gate_table(judged))
    if judged.sunk:
        print(f"worse by more than the margin, corrected for the number of tasks: {', '.join(judged.sunk)}")
    print(f"gate: {judged.overall.verdict}")
