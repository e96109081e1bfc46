"""python -m gldfusion.conformance [--gold] [--json]: runs the checks. The exit code is 1 if a loss fails a check."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from gldfusion.conformance import CHECKS, conformance
from gldfusion.conformance.gold import gold
from gldfusion.conformance.ours import subjects
from gldfusion.errors import InputError

MARKS = {True: "pass", False: "FAIL", None: "-"}


def main() -> int:
    """Runs the checks, prints a table with a column for each loss, and returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m gldfusion.conformance",
        description="Check distillation losses for known mistakes. The exit code is 1 if a loss fails a check.",
    )
    parser.add_argument(
        "--gold", action="store_true", help="check TRL's GOLD loss instead of the losses of gldfusion (needs trl)"
    )
    parser.add_argument(
        "--json", action="store_true", help="print a list of {loss, check, passed, seen} instead of a table"
    )
    options = parser.parse_args()
    try:
        tested = [gold(), gold(uld_token_merge_strategy="bayesian")] if options.gold else subjects()
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    results = [result for subject in tested for result in conformance(subject)]
    if options.json:
        print(json.dumps([asdict(result) for result in results], indent=1))
    else:
        names = list(dict.fromkeys(result.loss for result in results))
        width = max(map(len, names))
        print("check".ljust(18), *(name.rjust(width) for name in names))
        for check in CHECKS:
            row = [MARKS[result.passed] for result in results if result.check == check]
            print(check.ljust(18), *(mark.rjust(width) for mark in row))
        for result in results:
            if result.passed is False:
                print(f"{result.loss}, {result.check}: {result.seen}")
    return int(any(result.passed is False for result in results))


if __name__ == "__main__":
    sys.exit(main())
