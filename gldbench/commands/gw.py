"""`gldbench gw solve | bench | check`. Thin over the library."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gldbench.commands.options import Json, print_json
from gldfusion.errors import InputError

if TYPE_CHECKING:
    from gldbench.gw.families import Family
    from gldbench.gw.problem import Problem

gw_app = typer.Typer(
    help="Gromov-Wasserstein: certified values, speed against error, regression guard.", no_args_is_help=True
)


@gw_app.command()
def solve(
    a: Annotated[Path, typer.Argument(metavar="A.npy", help="Symmetric cost matrix n x n, or logits T x k.")],
    b: Annotated[Path, typer.Argument(metavar="B.npy", help="Symmetric cost matrix m x m, or logits T x k.")],
    weights: Annotated[
        tuple[Path, Path] | None, typer.Option(metavar="p.npy q.npy", help="Node weights. Default: uniform.")
    ] = None,
    logits: Annotated[bool, typer.Option("--logits", help="A and B are top-k logits; C = Z^T Z.")] = False,
    solvers: Annotated[
        str | None, typer.Option(help='Comma-separated solvers, or "all". Default: those of the printed fields.')
    ] = None,
    budget: Annotated[float, typer.Option(min=0, help="Seconds for branch and bound.")] = 60.0,
    as_json: Json = False,
) -> None:
    """GW_2^2 of two graphs: bounds below and above, the optimum where it can be had. POT's convention, float64."""
    from gldbench.gw.solve import solve as run_solve
    from gldbench.gw.solvers import solver_names
    from gldbench.timing import pinned_threads

    problem = _problem(a, b, weights, logits)
    with pinned_threads():
        document = run_solve(problem, None if solvers is None else solver_names(solvers), budget)
    if as_json:
        print_json(document)
    else:
        _print_solution(document)


def _problem(a: Path, b: Path, weights: tuple[Path, Path] | None, logits: bool) -> Problem:
    from gldbench.gw.problem import Problem, graph_from_logits, graph_from_matrix
    from gldbench.gw.real import read_array

    if logits:
        if weights is not None:
            raise InputError("--weights goes with cost matrices: logits have uniform weights\nleave one of the two out")
        return Problem(*(graph_from_logits(read_array(path), str(path)) for path in (a, b)))
    given = (None, None) if weights is None else tuple(read_array(path) for path in weights)
    return Problem(*(graph_from_matrix(read_array(p), w, str(p)) for p, w in zip((a, b), given, strict=True)))


def _print_solution(document: dict[str, Any]) -> None:
    from gldbench.console import print_rows

    why, seconds = document["why_null"], document["seconds"]
    fields = {"ggw_sum": document["ggw_sum"], "ggw_mean": document["ggw_mean"]}
    fields |= {f"lower {name}": value for name, value in document["lower"].items()}
    fields |= {f"upper {name}": value for name, value in document["upper"].items()}
    fields |= {"exact": document["exact"], **document.get("other", {})}
    lines = []
    for field, value in fields.items():
        name = field.rpartition(" ")[2]
        took = f"{seconds[name]:.2g}" if name in seconds else ""
        lines.append((field, "null" if value is None else f"{value:.12g}", took, why.get(name, "")))
    print_rows(("field", "value", "seconds", "why null"), *lines)
    low, high = document["interval"]
    nodes = "" if document["nodes"] is None else f"; {document['search']['method']}, {document['nodes']} nodes"
    above = "unknown" if high is None else f"{high:.12g}"
    print(f"GW_2^2 in [{low:.12g}, {above}], {document['n']} x {document['m']}{nodes}")


@gw_app.command()
def bench(
    spec: Annotated[str | None, typer.Argument(metavar="[SPEC]", help="Path of a bench YAML.")] = None,
    preset: Annotated[str | None, typer.Option(help="quick or full, instead of SPEC.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the run. Default: runs/gw-<name>.")] = None,
    run: Annotated[Path | None, typer.Option(help="Run whose checkpoints give the real logits, as runs/tiny.")] = None,
    pivot: Annotated[Path | None, typer.Option(help="Real logits: .npy (T x k), source cache or checkpoint.")] = None,
    source: Annotated[Path | None, typer.Option(help="The other side of the real logits.")] = None,
    texts: Annotated[Path | None, typer.Option(help="Texts for caches and checkpoints: JSON lines.")] = None,
    as_json: Json = False,
) -> None:
    """Time and price every solver on every family; repeat the command to go on where it was."""
    from gldbench.console import reporter
    from gldbench.gw.bench import run_bench
    from gldbench.gw.report import write_report
    from gldbench.gw.spec import load_bench

    if (spec is None) == (preset is None):
        raise InputError("give either --preset quick|full or the path of a bench YAML")
    loaded = load_bench(preset or spec or "")
    folder = (output or Path("runs") / f"gw-{loaded.name}").resolve()
    real = _real(run, pivot, source, texts)
    with reporter(f"gw bench {loaded.name}") as progress:
        run_bench(loaded, folder, real, progress)
    written = write_report(folder, folder / "report")
    if as_json:
        print_json(written.summary | {"report": str(written.path)})
        return
    widest = written.summary["widest_interval"]
    print(f"widest certified interval: {widest['width']:.1%} of its upper end ({widest['family']}, n = {widest['n']})")
    print(f"report: {written.path}")


def _real(run: Path | None, pivot: Path | None, source: Path | None, texts: Path | None) -> dict[str, Family]:
    if run is None and pivot is None and source is None:
        return {}
    from gldbench.gw.real import logits_of_run, read_logits, real_families

    if run is not None:
        return real_families(logits_of_run(run.resolve()))
    if pivot is None or source is None:
        raise InputError("real logits have two sides: give both --pivot and --source, or --run")
    return real_families(read_logits(pivot, source, texts))


@gw_app.command()
def check(
    baseline: Annotated[Path, typer.Option(help="JSON file to compare with.")],
    update: Annotated[bool, typer.Option("--update", help="Write the file anew instead.")] = False,
    as_json: Json = False,
) -> None:
    """Compare values (to rounding) and speeds (as ratios inside this run) with a baseline; exit 1 where one moved."""
    from gldbench.guards.baseline import print_results
    from gldbench.guards.gw import check_gw

    result = check_gw(baseline, update)
    print_results({"gw": result}, as_json)
    raise typer.Exit(0 if result.passed else 1)
