"""Options that several commands share, and how a document is printed."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
Data = Annotated[str, typer.Option(help='Folder of benchmark files, or "hub".')]
UnsafeCode = Annotated[
    bool, typer.Option("--unsafe-code", help="Without a sandbox, run model-written code anyway. Every row says so.")
]
ChangedData = Annotated[
    bool,
    typer.Option(
        "--allow-changed-data", help="Accept data files whose checksum differs. Every row of the results is marked."
    ),
]


def print_json(value: Any) -> None:
    """Prints one JSON document; what JSON has no form for is printed as text."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> Any:
    """NumPy numbers as numbers, everything else as text."""
    return value.item() if hasattr(value, "item") else str(value)
