"""What the pages say about commands, links and results is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from gldbench.cli import app

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "reference/README.md", "tasks/README.md")),
        *(ROOT / "docs").rglob("*.md"),
    ]
)
pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))

COMMANDS = {str(c.name or c.callback.__name__): {""} for c in app.registered_commands if c.callback}
for group in app.registered_groups:
    assert group.typer_instance is not None
    registered = group.typer_instance.registered_commands
    COMMANDS[str(group.name)] = {str(c.name or c.callback.__name__) for c in registered if c.callback}


@pages
def test_every_command_exists(page: Path) -> None:
    """`gldbench VERB`, and `gldbench GROUP VERB` if the next word is one in lower case."""
    for verb, after in re.findall(r"\bgldbench ([a-z]\w*)\b(?: ([a-z]\w*)\b(?![./:]))?", _code(page)):
        assert verb in COMMANDS, f"gldbench {verb}"
        if after and COMMANDS[verb] != {""} and verb != "cache":  # `cache RECIPE` is short for `cache build RECIPE`
            assert after in COMMANDS[verb], f"gldbench {verb} {after}"


def _code(page: Path) -> str:
    """The parts of a page that are code: fenced and indented blocks, and what is between backticks, one a line."""
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"```(?:sh)?\n(.*?)```", text, re.DOTALL)
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return "\n".join([*fenced, *re.findall(r"^    .*$", text, re.MULTILINE), *re.findall(r"`([^`]+)`", text)])


@pages
def test_every_link_leads_to_a_file(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", text):
        path, _, heading = "".join(target).partition("#")
        if path.startswith(("http://", "https://")):
            continue
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{path} does not exist"
        if heading and linked.suffix == ".md":
            assert heading in _headings(linked), f"{path} has no heading #{heading}"


def _headings(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


SHOWN = {
    "sft+kl": "gains 8.5 points",
    "sft+minced": "gains 9.1",
    "sft+kl-shuffled": "loses 16.5",
    "sft+uld+gld": "scores 4.0 points below",
}
"""method -> what the page says of it"""


def test_results_are_those_of_the_report() -> None:
    readme = " ".join((ROOT / "README.md").read_text().split())
    report = (ROOT / "reports/tiny/report.md").read_text()
    for method, shown in SHOWN.items():
        assert shown in readme
        number = shown.split()[1]
        assert re.search(rf"\| {re.escape(method)} \| sft \| [+−]{number} ", report)


def test_the_table_of_the_comparison_is_that_of_the_report() -> None:
    readme, report = ((ROOT / path).read_text() for path in ("README.md", "reports/compare/report.md"))
    shown = re.findall(r"^\| (sft\+\S+?)(?: \(ours\))? \| ([+−][^|]+) \| ([+−][^|]+) \|$", readme, re.MULTILINE)
    assert len(shown) == 4
    for method, beyond_sft, beyond_longer in shown:
        assert f"| {method} | sft | {beyond_sft} |" in report
        assert f"| {method} | sft-longer | {beyond_longer} |" in report
    added = re.search(r"adds (\S+) points to `minced` \(([^)]+)\)", readme)
    assert added is not None
    assert f"| sft+minced+gld_local | sft+minced | {added[1]} ({added[2]}) |" in report
    assert "| sft+uld+gld | sft+uld | 0.0 (equal on every item) |" in report


def test_the_citation_names_this_version_and_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert f'version = "{citation["version"]}"' in (ROOT / "pyproject.toml").read_text()
    assert "2505.13893" in citation["references"][0]["url"]
