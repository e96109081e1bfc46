"""The table of a campaign, and the two files that keep it."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

from gldfusion.files import atomic_write, write_json
from tests.campaign.trials import Result, as_json

SHOWN = 5
"""failures of a kind that the Markdown page shows"""


def table(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """The cells of the table, the heading first."""
    lines = [("kind", "trials", "failures", "seconds", "what failed first")]
    for result in results:
        first = result.failures[0].what if result.failures else ""
        missing = "" if result.trials >= result.planned else f"only {result.trials} of {result.planned} trials ran. "
        cells = (result.kind, f"{result.trials:,}", str(len(result.failures)), f"{result.seconds:.0f}")
        lines.append((*cells, _one_line(missing + first, 90)))
    trials, failures = sum(r.trials for r in results), sum(len(r.failures) for r in results)
    lines.append(("all", f"{trials:,}", str(failures), f"{sum(r.seconds for r in results):.0f}", ""))
    return lines


def _one_line(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 3] + "..."


def as_text(results: Sequence[Result]) -> str:
    """The table with columns of equal width, then the command that repeats each failed trial."""
    lines = table(results)
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    text = "".join(
        "  ".join([line[0].ljust(widths[0]), *(line[c].rjust(widths[c]) for c in (1, 2, 3)), line[4]]).rstrip() + "\n"
        for line in lines
    )
    text += "".join(f"\n{result.kind}: {fact}" for result in results for fact in result.facts) + "\n"
    return text + "".join(
        f"\n{result.kind}, trial {failure.trial}: {failure.what}\n  {failure.replay}\n"
        for result in results
        for failure in result.failures
    )


def write(results: Sequence[Result], seed: int, folder: Path) -> None:
    """Writes campaign.json and campaign.md; each is whole or absent."""
    facts = {"seed": seed, "commit": _commit(), "python": platform.python_version()}
    seconds = round(sum(result.seconds for result in results))
    write_json(folder / "campaign.json", facts | {"seconds": seconds, "kinds": [as_json(r) for r in results]})
    with atomic_write(folder / "campaign.md", "w") as file:
        file.write(markdown(results, facts))


def markdown(results: Sequence[Result], facts: dict[str, object]) -> str:
    """The page for people."""
    heading, *lines = table(results)
    parts = [
        "# The last campaign",
        f"`make campaign` wrote this page. Seed {facts['seed']}, commit {facts['commit']}, Python {facts['python']}.",
        "\n".join(
            [f"| {' | '.join(heading)} |", "| --- | ---: | ---: | ---: | --- |"]
            + [f"| {' | '.join(cell.replace('|', '/').replace('<', '&lt;') for cell in line)} |" for line in lines]
        ),
        "## What a trial is",
        "\n".join(f"- `{result.kind}`: {result.summary}." for result in results),
    ]
    if facts_of_kinds := [f"- `{result.kind}`: {fact}." for result in results for fact in result.facts]:
        parts += ["## What was measured", "\n".join(facts_of_kinds)]
    failed = [result for result in results if result.failures]
    parts += ["## Failures"] if failed else ["No trial failed."]
    for result in failed:
        parts += [
            f"- `{result.kind}`, trial {failure.trial}: `{_one_line(failure.what, 300).replace('`', chr(39))}`\n"
            f"  Repeat it: `{failure.replay}`"
            for failure in result.failures[:SHOWN]
        ]
        if len(result.failures) > SHOWN:
            parts.append(f"- `{result.kind}`: {len(result.failures) - SHOWN} more failures are in campaign.json")
    return "\n\n".join(parts) + "\n"


def _commit() -> str:
    here = Path(__file__).parent
    done = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=here, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
