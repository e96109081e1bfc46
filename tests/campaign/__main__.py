"""`python -m tests.campaign`: runs the campaign, prints its table and keeps it. Exit code 1 where a trial failed."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from gldbench.console import reporter
from tests.campaign.kinds import KINDS
from tests.campaign.report import as_text, write
from tests.campaign.trials import Kind, Result, Setting, run_kind


def main() -> int:
    """Reads the arguments, runs the trials, prints and writes the table."""
    # a killed command cannot give its semaphores back; Python's tracker does so at the end, and would warn each time
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
    options = _arguments()
    chosen = {name: kind for name, kind in KINDS.items() if not options.only or name.startswith(tuple(options.only))}
    if not chosen:
        print(f"error: no kind begins with {' or '.join(options.only)}\nknown: {', '.join(KINDS)}", file=sys.stderr)
        return 2
    if options.short:
        chosen = {name: kind for name, kind in chosen.items() if kind.short}
    numbers = {name: _numbers(kind, options) for name, kind in chosen.items()}
    results = run(chosen, numbers, options.seed, options.minutes, options.workers, options.shared, options.short)
    print(as_text(results), end="")
    if options.output:
        write(results, options.seed, options.output)
        print(f"report: {options.output / 'campaign.md'}")
    return 0 if all(result.passed for result in results) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="seed of everything that is random (default: 0)")
    parser.add_argument("--minutes", type=float, default=60.0, help="no trial starts after this time (default: 60)")
    parser.add_argument("--only", nargs="+", default=[], metavar="KIND", help="kinds to run; a beginning is enough")
    parser.add_argument("--trial", type=int, help="run only the trial with this number")
    parser.add_argument("--trials", type=int, help="most trials of each kind")
    parser.add_argument("--workers", type=int, default=2, help="trials that run at the same time (default: 2)")
    parser.add_argument("--short", action="store_true", help="the few trials of each kind that `make test` runs")
    parser.add_argument("--shared", type=Path, help="folder that keeps inputs and samples for the next call")
    parser.add_argument("--output", type=Path, help="folder for campaign.json and campaign.md")
    return parser.parse_args()


def _numbers(kind: Kind, options: argparse.Namespace) -> list[int]:
    if options.trial is not None:
        return [options.trial]
    planned = kind.short if options.short else kind.trials
    return list(range(min(planned, planned if options.trials is None else options.trials)))


def run(
    kinds: dict[str, Kind], numbers: dict[str, Sequence[int]] | dict[str, list[int]], seed: int, minutes: float,
    workers: int = 2, shared: Path | None = None, short: bool = False,
) -> list[Result]:  # fmt: skip
    """Runs the trials with these numbers, kind by kind. Each kind has a folder of its own, which is deleted."""
    deadline, results = time.monotonic() + 60 * minutes, []
    with reporter("campaign") as progress, nullcontext(shared) if shared else _temporary("shared") as common:
        for name in kinds:
            progress(name, 0, 1)
        for name, kind in kinds.items():
            with _temporary(name) as place:
                setting = Setting(
                    name=name,
                    folder=Path(place),
                    shared=Path(common),
                    seed=seed,
                    short=short,
                    deadline=deadline,
                    workers=workers,
                )
                wanted = numbers[name]
                tell = lambda done, failed, name=name, wanted=wanted: progress(name, done, len(wanted))  # noqa: E731
                results.append(run_kind(kind, setting, wanted, tell))
    return results


def _temporary(name: str) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix=f"gldbench-campaign-{name}-", ignore_cleanup_errors=True)


if __name__ == "__main__":
    sys.exit(main())
