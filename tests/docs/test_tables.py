"""docs/tables.md: the table that it shows is valid, and its commands run."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def test_the_guide_is_followed(section: Any, blocks: Any, follow: Any, tmp_path: Path) -> None:
    follow(blocks(section("docs/tables.md", "## Add a table")), tmp_path)
    text = (tmp_path / "report" / "table.md").read_text()
    assert "| GSM8K | 61.50 | not measured | 68.10 | not measured |" in text
    assert "+6.60" in text
    assert "| +6.6 on GSM8K (abstract) | +6.60 | Tuned over base |" in text
