"""`gldbench gw solve | solvers | bench | check`."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gldbench.commands.options import Json, print_json
from gldfusion.errors import InputError
from gldfusion.files import require_file
from gldfusion.paths import resolved

if TYPE_CHECKING:
    from gldbench.gw.families import Family
    from gldbench.gw.problem import Problem

gw_app = typer.Typer(
    help="Gromov-Wasserstein distances: certified bounds, a benchmark of solvers, a regression guard.",
    no_args_is_help=True,
)


@gw_app.command()
def solve(
    a: Annotated[Path, typer.Argument(metavar="A.npy", help="Symmetric cost matrix n x n, or logits T x k.")],
    b: Annotated[Path, typer.Argument(metavar="B.npy", help="Symmetric cost matrix m x m, or logits T x k.")],
    weights: Annotated[
        tuple[Path, Path] | None, typer.Option(metavar="p.npy q.npy", help="Node weights. Default: uniform.")
    ] = None,
    logits: Annotated[
        bool, typer.Option("--logits", help="A and B hold top-k logits Z of T positions. The cost matrix is Z^T Z.")
    ] = False,
    solvers: Annotated[
        str | None,
        typer.Option(
            help='Comma-separated names of solvers, or "all"; `gldbench gw solvers` lists them. '
            "Default: the solvers of the printed fields."
        ),
    ] = None,
    budget: Annotated[float, typer.Option(min=0, help="Time limit of branch and bound, in seconds.")] = 60.0,
    as_json: Json = False,
) -> None:
    """Bound GW_2^2 of two graphs from below and above, and find the optimum if possible.

    Values follow POT's convention (no factor 1/2, no root), in float64 and in the units of the input.
    """
    _check_inputs(a, b, weights, logits)
    from gldbench.gw.solve import solve as run_solve
    from gldbench.gw.solvers import solver_names
    from gldbench.timing import pinned_threads

    problem = _problem(a, b, weights, logits)
    with pinned_threads():
        document = run_solve(
            problem, None if solvers is None else solver_names(solvers), budget, skip_missing=solvers == "all"
        )
    if as_json:
        print_json(document)
    else:
        _print_solution(document)


def _check_inputs(a: Path, b: Path, weights: tuple[Path, Path] | None, logits: bool) -> None:
    """Checks what can be checked before torch is imported, which takes seconds."""
    if logits and weights is not None:
        raise InputError("--weights belongs to cost matrices: logits have uniform weights\nleave one of the two out")
    for path in (a, b):
        require_file(path, "graph", "give a .npy file with a cost matrix, or with logits and the option --logits")
    for path in weights or ():
        require_file(path, "node weights", "give a .npy file with one weight per node")


def _problem(a: Path, b: Path, weights: tuple[Path, Path] | None, logits: bool) -> Problem:
    from gldbench.gw.problem import Problem, graph_from_logits, graph_from_matrix
    from gldbench.gw.real import read_array

    if logits:
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


@gw_app.command("solvers")
def list_solvers(as_json: Json = False) -> None:
    """List the solvers: kind, formula, source, largest size, and the package that each needs."""
    from gldbench.gw.solvers import KINDS, SOLVERS, missing

    entries = [
        {
            "name": name,
            "kind": solver.kind,
            "summary": solver.summary,
            "formula": solver.formula,
            "source": solver.source,
            "max_nodes": solver.max_nodes,
            "growth": solver.growth,
            "package": solver.package,
            "missing": missing(solver),
            "gpu": solver.gpu,
        }
        for name, solver in SOLVERS.items()
    ]
    if as_json:
        print_json(entries)
        return
    print("Kinds of solvers")
    for kind, meaning in KINDS.items():
        _print_field(kind, meaning)
    for entry in entries:
        _print_solver(entry)


def _print_solver(entry: dict[str, Any]) -> None:
    device = "CPU or GPU" if entry["gpu"] else "CPU"
    print(f"\n{entry['name']}: {entry['kind']}, up to {entry['max_nodes']:,} nodes, {device}")
    _print_wrapped(f"  {entry['summary']}", indent=2)
    _print_field("formula", entry["formula"])
    _print_field("source", entry["source"])
    if entry["package"]:
        _print_field("package", entry["missing"] or f"{entry['package']} (installed)")


def _print_field(name: str, text: str) -> None:
    """Prints a name and a text to its right. A long text continues below itself."""
    _print_wrapped(f"  {name:<12}{text}", indent=14)


def _print_wrapped(text: str, indent: int) -> None:
    width = min(100, shutil.get_terminal_size((100, 24)).columns)
    print(textwrap.fill(text, width, subsequent_indent=" " * indent, break_on_hyphens=False))


@gw_app.command()
def bench(
    spec: Annotated[str | None, typer.Argument(metavar="[SPEC]", help="Path of the YAML file of a bench.")] = None,
    preset: Annotated[str | None, typer.Option(help="Preset to run instead of SPEC: quick or full.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the run. Default: runs/gw-<name>.")] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Folder of a run of `gldbench run`, for example runs/tiny: takes real logits from it."),
    ] = None,
    pivot: Annotated[
        Path | None, typer.Option(help="Real logits: a .npy file (T x k), a source cache or a checkpoint.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option(help="The real logits of the other side, in one of these forms.")
    ] = None,
    texts: Annotated[
        Path | None, typer.Option(help="JSON lines with the texts that caches and checkpoints are read on.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure the time and the error of solvers on families of graph pairs, and write a report.

    Run the same command again to resume.
    """
    if (spec is None) == (preset is None):
        raise InputError("expected one bench\ngive either --preset quick|full or the path of a YAML file")
    if run is None and (pivot is None) != (source is None):
        raise InputError("real logits have two sides\ngive both --pivot and --source, or --run")
    from gldbench.gw.spec import load_bench

    loaded = load_bench(preset or spec or "")
    from gldbench.console import reporter
    from gldbench.gw.bench import run_bench
    from gldbench.gw.report import write_report

    folder = resolved(output or Path("runs") / f"gw-{loaded.name}")
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
    from gldbench.gw.real import logits_of_run, read_logits, real_families

    if run is not None:
        return real_families(logits_of_run(resolved(run)))
    if pivot is None or source is None:
        return {}
    return real_families(read_logits(pivot, source, texts))


@gw_app.command()
def check(
    baseline: Annotated[Path, typer.Option(help="JSON file with the baseline.")],
    update: Annotated[
        bool, typer.Option("--update", help="Overwrite the baseline instead of comparing with it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare values and speeds with a baseline. The exit code is 1 if a number moved.

    Values must agree up to rounding. Speeds are compared as ratios to a reference solver in the same run. A speed that
    looks worse while the machine is busy is inconclusive and does not fail.
    """
    from gldbench.guards.baseline import print_results
    from gldbench.guards.gw import check_gw

    result = check_gw(baseline, update)
    print_results({"gw": result}, as_json)
    raise typer.Exit(0 if result.passed else 1)
